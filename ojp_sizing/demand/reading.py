"""Read a workload from YAML, and write one. The format is described in ``docs/workload.md``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PlainValidator, ValidationError, model_validator

from ojp_sizing.bounds import take_path, told_as
from ojp_sizing.data_files import data_path
from ojp_sizing.demand.arrivals import Arrivals, Bursts, Closed, DailyProfile, Poisson, Replay
from ojp_sizing.demand.ranges import check_ends
from ojp_sizing.demand.recording import MOST_RECORDING_BYTES, parse_recording
from ojp_sizing.demand.workload import (
    MOST_STEPS,
    SQL,
    STEPS,
    Clients,
    Duration,
    Lane,
    Network,
    Patience,
    StatementClass,
    UnitOfWork,
    Workload,
    check_whole,
)
from ojp_sizing.deployment.constants import constant_table
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import format_duration, format_number, parse_fraction, parse_whole, shown
from ojp_sizing.reading import MOST_ENTRIES, SetConstants, load_tree, read_text, yaml_constants
from ojp_sizing.reading import Edge as _Edge
from ojp_sizing.reading import Fraction as _Fraction
from ojp_sizing.reading import Line as _Line
from ojp_sizing.reading import Name as _Name
from ojp_sizing.reading import Time as _Time
from ojp_sizing.reading import did_you_mean as _did_you_mean
from ojp_sizing.reading import flag_of as _flag
from ojp_sizing.reading import input_error as _input_error
from ojp_sizing.reading import join_path as _join
from ojp_sizing.reading import line_of as _line
from ojp_sizing.reading import name_of as _name
from ojp_sizing.reading import number_of as _number_of
from ojp_sizing.reading import text_of as _text
from ojp_sizing.reading import yaml_text as _yaml_text

# --- mappings and text -> checked values ----------------------------------------------------------------------------


def _sql(value: object) -> str:
    return SQL.take(_text(value), "")


def _steps(value: object) -> tuple[str, ...] | int:
    if not isinstance(value, list):
        return parse_whole(_text(value), "", least=1, most=MOST_STEPS)
    if len(value) > MOST_STEPS:
        return STEPS.take(value, "")
    return tuple(_name(item) for item in value)


class _Duration(_Edge):
    mean: _Time
    cv: Annotated[float, _number_of(Duration, "cv")] = 1.0
    family: Literal["lognormal", "exponential", "constant"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: object) -> object:
        return {"mean": data} if isinstance(data, str) else data

    def made(self) -> Duration:
        return self.duration("lognormal")

    def duration(self, family: Literal["lognormal", "exponential"]) -> Duration:
        return Duration(self.mean, self.cv, self.family or (family if self.mean else "constant"))


class _Statement(_Edge):
    name: _Name
    sql: Annotated[str, PlainValidator(_sql)]
    kind: Literal["read", "write", "batch", "call"]
    database_time: _Duration
    share: _Fraction = 0.0
    rows: Annotated[int, _number_of(StatementClass, "rows")] = 1
    lane: Lane | None = None
    error_share: _Fraction = 0.0
    session: Annotated[bool, PlainValidator(_flag)] = False
    additions: Annotated[int, _number_of(StatementClass, "additions")] = 0
    fetches: Annotated[int, _number_of(StatementClass, "fetches")] = 0

    def made(self) -> StatementClass:
        return StatementClass(
            self.name,
            self.sql,
            self.kind,
            self.database_time.duration("lognormal"),
            self.share,
            self.rows,
            self.lane,
            self.error_share,
            self.session,
            self.additions,
            self.fetches,
        )


class _Unit(_Edge):
    name: _Name
    share: _Fraction = 1.0
    statements: Annotated[tuple[str, ...] | int, PlainValidator(_steps)] = 1
    transaction: Annotated[bool, PlainValidator(_flag)] = False
    think: _Duration = _Duration(mean=format_duration(constant_table()["think_s"].value))  # type: ignore[arg-type]  # text
    calls: Annotated[int, _number_of(UnitOfWork, "calls")] = 0
    xa: Annotated[bool, PlainValidator(_flag)] = False

    def made(self) -> UnitOfWork:
        think = self.think.duration("exponential")
        return UnitOfWork(self.name, self.share, self.statements, self.transaction, think, self.calls, self.xa)


MOST_PROFILE = 24 * 60


def _profile(value: object) -> tuple[tuple[float, float], ...]:
    """Factors of the peak rate by time of day, in order."""
    if not isinstance(value, dict) or not 1 <= len(value) <= MOST_PROFILE:
        fix = 'write for example {"00:00": 20%, "11:00": 100%, "18:00": 60%}'
        raise InputError("", f"not a mapping of 1 to {MOST_PROFILE:,} times of day to factors", fix)
    points = []
    for key, factor in value.items():
        if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", key):
            raise InputError(_join("", key), "not a time of day", "write for example 09:30, from 00:00 to 23:59")
        if not isinstance(factor, str):
            raise InputError(_join("", key), "empty or not a single value", "write a factor from 0 to 1")
        points.append((60.0 * (60 * int(key[:2]) + int(key[3:])), parse_fraction(factor, _join("", key))))
    with told_as(lambda field: ""):
        return DailyProfile(tuple(sorted(points))).points


def _file(value: object) -> str:
    text = _line(value)
    if not text:
        raise InputError("", "no file is named", "write its name, as seen from the workload file")
    return text


class _Bursts(_Edge):
    dispersion: Annotated[float, _number_of(Bursts, "dispersion")]
    mean: _Time
    share: _Fraction

    def made(self) -> Bursts:
        return Bursts(self.dispersion, self.mean, self.share)


class _Closed(_Edge):
    pause: _Time | None = None

    def made(self) -> Closed:
        return Closed(self.pause)


class _Poisson(_Edge):
    pass


class _Arrivals(_Edge):
    """One of them. The recording is read when units and JVMs are known to be right."""

    poisson: _Poisson | None = None
    bursts: _Bursts | None = None
    profile: Annotated[tuple[tuple[float, float], ...] | None, PlainValidator(_profile)] = None
    replay: Annotated[str | None, PlainValidator(_file)] = None
    closed: _Closed | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_of_them(cls, data: object) -> object:
        if data in ("poisson", "closed"):
            return {data: {}}
        if isinstance(data, str):
            fix = "write poisson, closed, or a mapping with bursts, profile, replay or closed"
            raise InputError("", f"{shown(data)} is not known here", fix)
        if isinstance(data, dict) and sum(value is not None for value in data.values()) != 1:
            raise InputError("", "not one kind of arrivals", "write bursts, profile, replay or closed, with its value")
        return data

    def made(self) -> Arrivals:
        if self.bursts is not None:
            return self.bursts.made()
        if self.closed is not None:
            return self.closed.made()
        return Poisson() if self.profile is None else DailyProfile(self.profile)


class _Clients(_Edge):
    jvms: Annotated[int, _number_of(Clients, "jvms")] = Clients().jvms
    threads: Annotated[int, _number_of(Clients, "threads")] = Clients().threads
    pools: Annotated[int, _number_of(Clients, "pools")] = Clients().pools
    timeout: _Time | None = None
    retries: Annotated[int, _number_of(Patience, "retries")] = Patience().retries
    back_off: _Time = Patience().back_off_s
    factor: Annotated[float, _number_of(Patience, "factor")] = Patience().factor

    @model_validator(mode="after")
    def _used(self) -> Self:
        for key in ("back_off", "factor"):
            if key in self.model_fields_set and not self.retries:
                raise InputError(key, "without retries it does nothing", "write for example 'retries: 2', or remove it")
        return self

    def made(self) -> tuple[Clients, Patience]:
        timeout_s = math.inf if self.timeout is None else self.timeout
        return (
            Clients(self.jvms, self.threads, self.pools),
            Patience(timeout_s, self.retries, self.back_off, self.factor),
        )


class _Network(_Edge):
    one_way: _Time = Network().one_way_s
    sigma: Annotated[float, _number_of(Network, "sigma")] = Network().sigma

    def made(self) -> Network:
        return Network(self.one_way, self.sigma)


class _Workload(_Edge):
    name: _Name
    description: _Line = ""
    source: _Line = ""
    statements: list[_Statement] = Field(min_length=1, max_length=MOST_ENTRIES)
    units: list[_Unit] = Field(min_length=1, max_length=MOST_ENTRIES)
    arrivals: _Arrivals = _Arrivals.model_validate("poisson")
    clients: _Clients = _Clients()
    network: _Network = _Network()
    constants: SetConstants = ()

    def made(self) -> Workload:
        """All but a recording of arrivals."""
        clients, patience = self.clients.made()
        workload = Workload(
            name=self.name,
            statements=tuple(s.made() for s in self.statements),
            units=tuple(u.made() for u in self.units),
            description=self.description,
            source=self.source,
            arrivals=self.arrivals.made(),
            clients=clients,
            network=self.network.made(),
            patience=patience,
            constants=self.constants,
        )
        check_whole(workload)
        check_ends(workload)
        return workload


# --- the doors ------------------------------------------------------------------------------------------------------


def workload_from_tree(tree: dict[str, object], place: str, folder: Path = Path()) -> Workload:
    """A workload from what ``load_tree`` gives (all values text); a recording of arrivals is looked for from ``folder``."""
    try:
        edge = _Workload.model_validate(tree)
    except ValidationError as error:
        raise _input_error(error, place) from error
    workload = edge.made()
    return workload if edge.arrivals.replay is None else _with_recording(workload, edge.arrivals.replay, folder)


def _with_recording(workload: Workload, file: str, folder: Path) -> Workload:
    text, place = read_text(folder / file, "a recording is looked for beside its workload", MOST_RECORDING_BYTES)
    names = [unit.name for unit in workload.units]
    return replace(workload, arrivals=parse_recording(text, place, file, names, workload.clients.jvms))


def parse_workload(text: str, place: str = "workload", folder: Path = Path()) -> Workload:
    """A workload from YAML text. ``place`` (a file name) begins every message; a recording is looked for from ``folder``."""
    return workload_from_tree(load_tree(text, place), place, folder)


def preset_names() -> list[str]:
    """The workloads that come with the package."""
    return sorted(path.stem for path in data_path("workloads").glob("*.yaml"))


def read_workload(path_or_preset: str | Path) -> Workload:
    """A workload from a YAML file, or a preset by its name."""
    take_path(path_or_preset, "workload")
    if isinstance(path_or_preset, str) and path_or_preset in preset_names():
        path_or_preset = data_path("workloads", f"{path_or_preset}.yaml")
    path = Path(path_or_preset)
    return parse_workload(*read_text(path, _did_you_mean(str(path_or_preset), preset_names())), path.parent)


# --- and back to YAML -----------------------------------------------------------------------------------------------


def _yaml_duration(time: Duration) -> str:
    return f"{{mean: {format_duration(time.mean_s)}, cv: {format_number(time.cv)}, family: {time.family}}}"


def _yaml_statement(statement: StatementClass) -> Iterator[str]:
    yield f"  - name: {_yaml_text(statement.name)}"
    yield f"    sql: {_yaml_text(statement.sql)}"
    yield f"    kind: {statement.kind}"
    yield f"    share: {format_number(statement.share)}"
    yield f"    database_time: {_yaml_duration(statement.database_time)}"
    yield f"    rows: {statement.rows}"
    if statement.lane is not None:
        yield f"    lane: {statement.lane}"
    if statement.error_share:
        yield f"    error_share: {format_number(statement.error_share)}"
    if statement.session:
        yield "    session: true"
    for key in ("additions", "fetches"):
        if getattr(statement, key):
            yield f"    {key}: {getattr(statement, key)}"


def _yaml_unit(unit: UnitOfWork) -> Iterator[str]:
    steps = unit.statements
    yield f"  - name: {_yaml_text(unit.name)}"
    yield f"    share: {format_number(unit.share)}"
    yield f"    statements: {steps if isinstance(steps, int) else '[' + ', '.join(map(_yaml_text, steps)) + ']'}"
    yield f"    transaction: {str(unit.transaction).lower()}"
    yield f"    think: {_yaml_duration(unit.think)}"
    if unit.calls:
        yield f"    calls: {unit.calls}"
    if unit.xa:
        yield "    xa: true"


def _yaml_arrivals(arrivals: Arrivals) -> str:
    if isinstance(arrivals, Bursts):
        mean, share = format_duration(arrivals.mean_s), format_number(arrivals.share)
        return f"{{bursts: {{dispersion: {format_number(arrivals.dispersion)}, mean: {mean}, share: {share}}}}}"
    if isinstance(arrivals, DailyProfile):
        points = (
            f'"{int(at_s) // 3600:02}:{int(at_s) % 3600 // 60:02}": {format_number(f)}' for at_s, f in arrivals.points
        )
        return f"{{profile: {{{', '.join(points)}}}}}"
    if isinstance(arrivals, Replay):
        return f"{{replay: {_yaml_text(arrivals.file)}}}"
    if isinstance(arrivals, Closed):
        return "closed" if arrivals.pause_s is None else f"{{closed: {{pause: {format_duration(arrivals.pause_s)}}}}}"
    return "poisson"


def _yaml_clients(clients: Clients, patience: Patience) -> str:
    words = [f"jvms: {clients.jvms}", f"threads: {clients.threads}"]
    if clients.pools != 1:
        words.append(f"pools: {clients.pools}")
    if patience.timeout_s < math.inf:
        words.append(f"timeout: {format_duration(patience.timeout_s)}")
    if patience.retries:
        back_off, factor = format_duration(patience.back_off_s), format_number(patience.factor)
        words += [f"retries: {patience.retries}", f"back_off: {back_off}", f"factor: {factor}"]
    return f"{{{', '.join(words)}}}"


def _yaml_lines(workload: Workload) -> Iterator[str]:
    yield "# A workload for ojp-size. Every field is described in docs/workload.md."
    yield f"name: {_yaml_text(workload.name)}"
    yield f"description: {_yaml_text(workload.description)}"
    yield f"source: {_yaml_text(workload.source)}"
    yield "# One entry per SQL text. share: how often a unit that draws its statements draws this one."
    yield "statements:"
    for statement in workload.statements:
        yield from _yaml_statement(statement)
    yield "# What the application does between getting a connection and closing it; one request is one of these."
    yield "# statements: the names in order, or how many to draw. think: the client's own work after each statement."
    yield "units:"
    for unit in workload.units:
        yield from _yaml_unit(unit)
    yield f"arrivals: {_yaml_arrivals(workload.arrivals)}"
    yield f"clients: {_yaml_clients(workload.clients, workload.patience)}"
    yield "# Between client and pod: median one way, and the standard deviation of its logarithm."
    one_way = format_duration(workload.network.one_way_s)
    yield f"network: {{one_way: {one_way}, sigma: {format_number(workload.network.sigma)}}}"
    yield from yaml_constants(workload.constants)


def workload_yaml(workload: Workload) -> str:
    """A commented YAML file that reads back as an equal workload."""
    return "\n".join(_yaml_lines(workload)) + "\n"
