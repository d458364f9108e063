"""Numbers that are only known as ranges: reading, writing, settling, and an answer that holds over them."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from math import fsum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import ojp_sizing as ojp
from ojp_sizing import Range, WholeRange
from ojp_sizing.demand.ranges import settled_workload
from ojp_sizing.demand.reading import parse_workload, workload_yaml
from ojp_sizing.emit.from_recommendation import json_text, record, release_of
from ojp_sizing.report.terminal import print_answer
from ojp_sizing.report.words import ranges_words
from ojp_sizing.sizing.over_ranges import inputs_of, settled_question
from ojp_sizing.sizing.recommendation import Recommendation
from ojp_sizing.uncertain import ranges_in

pytestmark = pytest.mark.usefixtures("whole_answers")

WEB = ojp.read_workload("web-oltp")
#: Half of the disruptions may break a limit: few runs show that.
OBJECTIVES = ojp.Objectives(fast_p99_s=0.06, risk=0.5)
TEXT = """
name: shop
statements:
  - {name: a, sql: select 1, kind: read, database_time: 1ms..2ms..5ms, share: 20%..40%..50%, rows: 1..5..20}
  - {name: b, sql: select 2, kind: read, database_time: {mean: 3ms, cv: 0.5..1..2}, share: 60%}
units:
  - {name: page, statements: 2, think: 0.5ms..1ms..2ms}
clients: {jvms: 8..16..64, timeout: 1s..2s..3s}
network: {one_way: 0.1ms..0.2ms..0.3ms}
constants: {statement_cpu_s: 0.3ms..0.36ms..0.5ms}
"""
MEAN = "statements[a].database_time.mean_s"


def test_a_range_reads_as_its_mid_and_knows_its_ends() -> None:
    workload = parse_workload(TEXT)
    found = dict(ranges_in(workload))
    assert found[MEAN] == 0.002
    assert (found[MEAN].low, found[MEAN].high) == (0.001, 0.005)
    assert isinstance(found["clients.jvms"], WholeRange)
    assert (found["clients.jvms"].low, workload.clients.jvms, found["clients.jvms"].high) == (8, 16, 64)
    assert set(found) == {
        MEAN, "statements[a].share", "statements[a].rows", "statements[b].database_time.cv", "units[page].think.mean_s",
        "clients.jvms", "patience.timeout_s", "network.one_way_s",
    }  # fmt: skip
    assert dict(inputs_of(ojp.Question(workload, 20.0)))["constants.statement_cpu_s"].high == 0.0005


def test_what_is_written_reads_back_with_the_same_ranges() -> None:
    workload = parse_workload(TEXT)
    again = parse_workload(workload_yaml(workload))
    assert again == workload
    assert list(map(repr, ranges_in(again))) == list(map(repr, ranges_in(workload)))
    assert repr(again.constants) == repr(workload.constants)
    assert repr(pickle.loads(pickle.dumps(workload))) == repr(workload)  # noqa: S301 - our own


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("1ms..2ms..5ms", "5ms..2ms..1ms", "statements[0].database_time"),
        ("1ms..2ms..5ms", "1ms..6ms..5ms", "statements[0].database_time"),
        ("1ms..2ms..5ms", "1ms..5ms", "statements[0].database_time"),
        ("1ms..2ms..5ms", "1ms..2ms..inf", "statements[0].database_time"),
        ("1ms..2ms..5ms", "0ms..2ms..5ms", "statements[0].database_time"),
        ("8..16..64", "0..16..64", "clients.jvms"),
        ("8..16..64", "8..16.5..64", "clients.jvms"),
        ("20%..40%..50%", "20%..40%..150%", "statements[0].share"),
        ("0.3ms..0.36ms..0.5ms", "0.5ms..0.36ms..0.3ms", "constants.statement_cpu_s"),
        ("0.3ms..0.36ms..0.5ms", "0.3ms..0.36ms..500s", "constants.statement_cpu_s"),
    ],
)
def test_a_range_that_is_none_is_one_line_that_names_the_place(old: str, new: str, path: str) -> None:
    with pytest.raises(ojp.InputError) as caught:
        parse_workload(TEXT.replace(old, new), "shop.yaml")
    assert str(caught.value).startswith(f"shop.yaml: {path}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ends", [(2.0, 1.0, 3.0), (1.0, 4.0, 3.0), (float("nan"), 1.0, 2.0), (0.0, 1.0, float("inf"))])
def test_python_refuses_the_same(ends: tuple[float, float, float]) -> None:
    with pytest.raises(ojp.InputError):
        Range(*ends)


def test_what_is_not_demanded_takes_no_range() -> None:
    with pytest.raises(ojp.InputError, match="can't be a range"):
        ojp.Deployment(3, Range(0.5, 1.0, 2.0))
    with pytest.raises(ojp.InputError, match="can't be a range"):
        ojp.Objectives(fast_p99_s=Range(0.01, 0.05, 0.1))
    # Each end is held to the field's bounds.
    with pytest.raises(ojp.InputError, match=r"Clients\.jvms"):
        ojp.Clients(jvms=WholeRange(0, 1, 2))
    with pytest.raises(ojp.InputError, match="a mean of 0"):
        first = replace(WEB.statements[0], database_time=ojp.Duration(Range(0.0, 0.001, 0.002)))
        ojp.Question(replace(WEB, statements=(first, *WEB.statements[1:])), 20.0)


@settings(max_examples=50)
@given(st.floats(0.0, 1.0), st.sampled_from(["low", "mid", "high"]))
def test_shares_still_make_a_whole_wherever_one_of_them_is(other: float, end: str) -> None:
    workload = parse_workload(TEXT)
    share = workload.statements[0].share
    assert isinstance(share, Range)
    found = settled_workload(workload, {"statements[a].share": getattr(share, end)})
    assert found.statements[0].share == getattr(share, end)
    assert fsum(s.share for s in found.statements) == pytest.approx(1.0)
    assert not list(ranges_in(found))
    # Where every share is a range, none can keep its place.
    both = tuple(replace(s, share=Range(0.0, float(s.share), 1.0)) for s in workload.statements)
    chosen = {"statements[a].share": other, "statements[b].share": 0.5}
    assert fsum(
        s.share for s in settled_workload(replace(workload, statements=both), chosen).statements
    ) == pytest.approx(1.0)


def test_a_settled_question_has_no_ranges_left() -> None:
    question = ojp.Question(parse_workload(TEXT), Range(10.0, 20.0, 40.0))
    names = inputs_of(question)
    assert "rate" in names
    high = settled_question(question, {name: found.high for name, found in names.items()})
    assert not inputs_of(high)
    assert type(high.rate) is float
    assert (high.rate, high.workload.clients.jvms, high.known.statement_cpu_s) == (40.0, 64, 0.0005)
    assert settled_question(question, {}).workload == question.workload


# Answers -------------------------------------------------------------------------------------------------------------


def _printed(answer: Recommendation) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_answer(console, answer, release_of(answer), [], {})
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_size_that_holds_over_its_ranges_is_shown_at_their_hard_ends() -> None:
    network = replace(WEB.network, one_way_s=Range(0.0002, 0.00025, 0.0003))
    question = ojp.Question(
        replace(WEB, network=network), Range(18.0, 20.0, 22.0), objectives=OBJECTIVES, most_replicas=4
    )
    answer = ojp.size(question)
    over = answer.ranges
    assert over is not None
    assert answer.verdict.is_met
    assert not over.resized
    assert over.at_mids is not None
    assert answer.deployment.pool == over.at_mids.pool
    assert answer.evaluation is not None
    assert answer.evaluation.verdict is answer.verdict
    assert answer.question.rate == 22.0
    assert answer.question.workload.network.one_way_s == 0.0003
    assert set(over.hard) == {"rate", "network.one_way_s"}
    assert len(over.ends) == 4
    assert over.decides == "rate"
    text = " ".join(_printed(answer).split())
    assert "decides --peak-rps: measure it first" in text
    written = json_text(record(answer, release_of(answer)))
    assert '"decides": "rate"' in written
    # The inputs are as they were asked.
    assert "200us..250us..300us" in written


def test_a_size_that_does_not_hold_is_sized_again_and_the_input_that_broke_it_decides() -> None:
    connect = replace(ojp.Question(WEB, 20.0).known, connect_cpu_s=Range(0.0004, 0.00044, 0.00048))
    question = ojp.Question(WEB, Range(20.0, 20.0, 500.0), objectives=OBJECTIVES, most_replicas=9, constants=connect)
    answer = ojp.size(question)
    over = answer.ranges
    assert over is not None
    assert over.resized
    assert over.decides == "rate"
    broken = [end for end in over.ends if end.broke]
    assert {(end.name, end.value) for end in broken} == {("rate", 500.0)}
    assert answer.question.rate == 500.0
    assert answer.deployment.constants.connect_cpu_s == 0.00048
    assert answer.cost is not None
    assert over.cost_at_mids is not None
    assert answer.cost > over.cost_at_mids
    assert answer.verdict.is_met == (not over.broken_ends)
    assert dict(ranges_words(over))["decides"] == "--peak-rps: measure it first"


def test_a_given_deployment_is_judged_at_the_hard_ends() -> None:
    deployment = ojp.Deployment(
        4, 0.5, ojp.ClientPool(8, 2), ojp.ServerSettings(segregation=False), ojp.Database(4.0), warm_pools=True
    )
    question = ojp.Question(WEB, Range(20.0, 20.0, 600.0), objectives=OBJECTIVES)
    judged = ojp.check(question, deployment)
    assert judged.ranges is not None
    assert judged.question.rate == 600.0
    assert not judged.verdict.is_met
    assert judged.ranges.hard == {"rate": 600.0}
