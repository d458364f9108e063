"""Public values show themselves: as HTML in a notebook, as tables, as files; hostile text stays text."""

from __future__ import annotations

import inspect
from dataclasses import replace
from html.parser import HTMLParser

import pytest

import ojp_sizing as ojp
from ojp_sizing.showing import Shown

EASY = ojp.Objectives(fast_p99_s=1.0, slow_p99_s=10.0)
GIVEN = ojp.Deployment(3, 1.0, ojp.ClientPool(12, 5), ojp.ServerSettings(segregation=False), warm_pools=True)
pytestmark = pytest.mark.usefixtures("whole_answers")
HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>"


class _Tags(HTMLParser):
    """The tags and the text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def looked() -> ojp.Judged:
    workload = ojp.read_workload("web-oltp")
    return ojp.look(ojp.Question(replace(workload, name=HOSTILE), 40.0, objectives=EASY), GIVEN, runs=2)


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    for name in ojp.__all__:
        value = getattr(ojp, name)
        if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
            assert value.__doc__, name
    for kind in (ojp.Recommendation, ojp.Judged):
        for name, value in inspect.getmembers(kind, inspect.isfunction):
            assert value.__doc__ or name.startswith("_"), name


def test_a_few_runs_show_every_situation_and_are_no_verdict(looked: ojp.Judged) -> None:
    assert looked.verdict is ojp.Verdict.UNDECIDED
    assert looked.summary.startswith("UNDECIDED  ")
    assert "few runs" in looked.summary
    assert looked.table("measures").columns[1:] == ("steady peak", "one pod lost", "rolling update")
    assert looked.units > 1000


def test_hostile_names_are_text_wherever_they_are_shown(looked: ojp.Judged) -> None:
    for value in (looked, *looked.tables().values()):
        assert not {"script", "img"} & set(_Tags(value._repr_html_()).tags)
    assert HOSTILE in "".join(_Tags(looked._repr_html_()).text)


def test_workloads_deployments_and_tables_show_themselves(looked: ojp.Judged) -> None:
    for value in (looked.question.workload, GIVEN, looked.table("measures")):
        assert isinstance(value, Shown)
        shown = _Tags(value._repr_html_())
        assert shown.tags.count("table") == 1
        assert shown.tags.count("tr") >= 4
    frame = looked.table("measures").frame()
    assert frame.loc["fast units: p50, ms", "steady peak"]


def test_a_table_that_is_not_there_is_named_with_those_that_are(looked: ojp.Judged) -> None:
    with pytest.raises(ojp.InputError, match="no table 'deploy'; one of shown, "):
        looked.table("deploy")


# A closer look -----------------------------------------------------------------------------------------------------------


def test_a_curve_goes_on_until_it_has_found_the_cliff() -> None:
    question = ojp.Question("web-oltp", 100.0)  # type: ignore[arg-type]
    small = ojp.Deployment(3, 0.2, ojp.ClientPool(6, 3), ojp.ServerSettings(segregation=False), warm_pools=True)
    points = ojp.demand_curve(question, small, runs=2)
    rates = [point.rate for point in points]
    assert rates == sorted(rates)
    assert rates[0] == 40
    verdicts = [point.verdict(question.objectives) for point in points]
    first = verdicts.index(ojp.Verdict.NOT_MET)
    assert first > 0
    assert rates[first] <= 1.061 * rates[first - 1]


def test_the_risk_of_updates_is_counted_with_its_exact_interval() -> None:
    question = ojp.Question("web-oltp", 40.0, objectives=EASY)  # type: ignore[arg-type]
    two = ojp.with_replicas(GIVEN, 2)
    assert (two.replicas, two.pool_per_pod) == (2, GIVEN.pool_per_pod)
    calm, alone = ojp.risk_points(question, [GIVEN, ojp.with_replicas(GIVEN, 1)], updates=4)
    assert (calm.broken, calm.runs) == (0, 4)
    assert (calm.share.value, calm.share.low) == (0, 0)
    assert calm.share.high == pytest.approx(1 - 0.025 ** (1 / 4))
    # Nobody serves while the only pod restarts.
    assert alone.broken == 4


@pytest.mark.parametrize("situation", [ojp.Situation.ROLLING_UPDATE, ojp.Situation.POD_LOST, ojp.Situation.STEADY])
def test_a_run_is_watched_from_before_it_begins_until_after_it_ends(situation: ojp.Situation) -> None:
    question = ojp.Question("web-oltp", 40.0)  # type: ignore[arg-type]
    watched = ojp.watch(question, GIVEN, situation, after_s=5.0)
    if situation is ojp.Situation.STEADY:
        assert watched.disruption is None
        return
    begin_s, ready_s = watched.outcomes.window_s or (0, 0)
    assert 10 <= begin_s < ready_s
    assert watched.outcomes.end_s >= ready_s + 5
