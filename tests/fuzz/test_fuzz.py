"""Some hundreds of the inputs, the doors and the record."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from numpy.random import default_rng

from ojp_sizing.cli import MOST_SAID, command, told
from ojp_sizing.emit.writing import check_target
from ojp_sizing.errors import InputError

from .mutation import MUTATIONS, mutated
from .record import read_record, section
from .running import PROCESS_EACH, run_some
from .seeds import DEPLOYMENTS, EXPORTS, WORKLOADS
from .targets import TAKEN, TARGETS, Fault, one_line, run_command


def test_some_hundreds_end_well() -> None:
    record = run_some(2, range(600))
    assert record.faults == {}
    assert set(record.endings) == set(TARGETS)
    assert all(len(endings) == 2 for endings in record.endings.values())


def test_an_input_is_the_same_alone_and_among_others() -> None:
    alone = [run_some(3, range(number, number + 1)).endings for number in range(12)]
    assert sum(sum(sum(e.values()) for e in endings.values()) for endings in alone) == 12
    together = run_some(3, range(12)).endings
    for name, endings in together.items():
        for ending, count in endings.items():
            assert sum(one.get(name, {}).get(ending, 0) for one in alone) == count


def test_the_record_is_of_100_000_inputs_through_every_door() -> None:
    record = read_record()
    assert record.inputs >= 100_000
    assert record.faults == {}
    assert sum(count for endings in record.endings.values() for count in endings.values()) == record.inputs
    assert set(record.endings) == {*TARGETS, "real process"}
    assert sum(record.endings["real process"].values()) == record.inputs // PROCESS_EACH
    assert set(record.endings["real process"]) <= {"exit 0", "exit 2", "exit 3", "exit 4"}
    assert f"{record.inputs:,} inputs" in section(record)


@pytest.mark.parametrize("text", [*WORKLOADS[:5], *DEPLOYMENTS, *EXPORTS])
def test_mutations_change_good_input(text: bytes) -> None:
    rng = default_rng(1)
    assert len({mutated(rng, text) for _ in range(60)}) > 40
    for mutation in MUTATIONS:
        assert isinstance(mutation(rng, text), bytes)
        assert isinstance(mutation(rng, b""), bytes)


def test_good_input_is_taken_and_bad_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness can tell: otherwise nothing that it finds means anything."""
    monkeypatch.chdir(tmp_path)
    for number, text in enumerate(WORKLOADS[:5]):
        (tmp_path / "w.yaml").write_bytes(text)
        assert run_command(["--peak-rps", "20", "--workload", "w.yaml"]) == TAKEN, number
    assert run_command(["--peak-rps", "nan"]) != TAKEN
    with pytest.raises(Fault):
        one_line("two\nlines")
    with pytest.raises(Fault):
        one_line("")


# What it has found ----------------------------------------------------------------------------------------------------


def test_a_flag_cannot_steer_the_terminal_nor_fill_it() -> None:
    for odd in ("--\x1b[31m", "a\x07\u202eb", "9" * 5000):
        with pytest.raises(click.ClickException) as caught:
            command.main(["--peak-rps", "5", odd], standalone_mode=False)
        line = told(caught.value)
        assert line.isprintable()
        assert len(line) < 10 * MOST_SAID
        assert line.endswith("Try 'ojp-size --help'.")


@pytest.mark.parametrize("name", ["9" * 300, "a/" + "x" * 5000, "a\0b"])
def test_a_directory_that_cannot_be_named_is_refused_before_the_work(name: str) -> None:
    with pytest.raises(InputError) as caught:
        check_target(Path(name))
    assert caught.value.place == "--output"
    assert str(caught.value).isprintable()


def test_a_long_path_is_told_shortened() -> None:
    from ojp_sizing.demand.reading import read_workload

    with pytest.raises(InputError) as caught:
        read_workload("x" * 5000)
    assert len(str(caught.value)) < 500
