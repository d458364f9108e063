"""Every setting of OJP's server, driver and Helm chart: one table, ``data/ojp_settings.csv``.

``python -m ojp_sizing.settings`` prints it as the page ``docs/settings.md``.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal

from ojp_sizing.data_files import data_path
from ojp_sizing.errors import InputError

Side = Literal["server", "client", "chart"]
#: A value of a setting; ``None`` as a default: there is none.
Value = bool | int | float | str | list[object] | dict[str, object] | None

#: What Java can read: beyond these bounds a setting is not a number to OJP, and its default holds (reference 9, CODE).
JAVA_BOUNDS = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
_ENUM = "enum:"
#: How the effect of a setting begins that has none on capacity.
_NONE = "none: "
_UNREAD = "none: nothing reads it"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. Bounds are those that OJP (or what it is built on) puts up, in the setting's own ``unit``.

    ``since`` empty: in every version looked at; ``until`` empty: to this day. "era A" are 0.1 to 0.3, "era B" from
    about 0.4.16 on (reference 0).
    """

    key: str
    side: Side
    system_property: str
    environment: str
    helm_path: str
    unit: str
    type: str
    default: Value
    minimum: float | None
    maximum: float | None
    since: str
    until: str
    capacity_effect: str
    source: str

    @property
    def is_read(self) -> bool:
        """False where OJP or the chart names it, but nothing reads it."""
        return not self.capacity_effect.startswith(_UNREAD)

    @property
    def affects_capacity(self) -> bool:
        """False where a change of it can't be seen in throughput or latency."""
        return not self.capacity_effect.startswith(_NONE)

    @property
    def effect(self) -> str:
        """``capacity_effect`` as a sentence of its own, without the mark of those that have none."""
        text = self.capacity_effect.removeprefix(_NONE)
        return f"{text[:1].upper()}{text[1:]}."

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that an enumeration knows, otherwise nothing."""
        return tuple(self.type.removeprefix(_ENUM).split("|")) if self.type.startswith(_ENUM) else ()


def _number(text: str, kind: str) -> float | None:
    return None if not text else float(text) if kind == "float" else int(text)


def _typed(text: str, kind: str) -> Value:
    if kind in JAVA_BOUNDS or kind == "float":
        return _number(text, kind)
    if kind == "bool":
        return {"true": True, "false": False}[text]
    if kind in ("list", "map"):
        value: Value = json.loads(text)
        return value
    return None if kind == "quantity" and not text else text


def _bounds(row: Mapping[str, str]) -> tuple[float | None, float | None]:
    kind = row["type"]
    least, most = JAVA_BOUNDS.get(kind, (None, None))
    low, high = _number(row["minimum"], kind), _number(row["maximum"], kind)
    return (least if low is None else low), (most if high is None else high)


def _setting(row: Mapping[str, str]) -> Setting:
    low, high = _bounds(row)
    typed = {"default": _typed(row["default"], row["type"]), "minimum": low, "maximum": high}
    return Setting(**{**row, **typed})  # type: ignore[arg-type]


@cache
def settings() -> Mapping[str, Setting]:
    """Every setting by its key, in the table's order."""
    with data_path("ojp_settings.csv").open(encoding="utf-8", newline="") as file:
        rows = [_setting(row) for row in csv.DictReader(file)]
    return MappingProxyType({row.key: row for row in rows})


@cache
def _helm_paths() -> Mapping[str, Setting]:
    return MappingProxyType({s.helm_path: s for s in settings().values() if s.helm_path})


def by_helm_path(path: str) -> Setting | None:
    """The setting which the chart's value at ``path`` ("server.port") sets, or nothing: the chart has no such value."""
    return _helm_paths().get(path)


def _of_its_type(setting: Setting, value: object) -> bool:
    if setting.type in JAVA_BOUNDS:
        return isinstance(value, int) and not isinstance(value, bool)
    if setting.type == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if setting.type == "bool":
        return isinstance(value, bool)
    if setting.choices:
        return value in setting.choices
    return isinstance(value, {"list": list, "map": dict}.get(setting.type, str))


def _wanted(setting: Setting) -> str:
    if setting.choices:
        return "one of " + ", ".join(setting.choices)
    return {"int": "a whole number", "long": "a whole number", "float": "a number", "bool": "true or false"}.get(
        setting.type, f"a {setting.type}"
    )


def check(key: str, value: Value, place: str) -> None:
    """Raise an ``InputError`` at ``place`` unless OJP takes ``value`` (in the setting's own unit) for ``key``."""
    setting = settings()[key]
    source = f"see {key}, {setting.source}"
    if not _of_its_type(setting, value):
        raise InputError(place, f"{value!r} is not {_wanted(setting)}", source)
    if isinstance(value, (int, float)):
        unit = f" {setting.unit}" if setting.unit else ""
        if setting.minimum is not None and value < setting.minimum:
            raise InputError(place, f"{value}{unit} is below the least, {setting.minimum}", source)
        if setting.maximum is not None and value > setting.maximum:
            raise InputError(place, f"{value}{unit} is above the most, {setting.maximum}", source)


_HEADINGS: Mapping[str, str] = {
    "server": "Server settings",
    "client": "Client settings (`ojp.properties` beside the application)",
    "chart": "Values of the Helm chart `ojp-server` 0.1.5",
}
_INTRODUCTION = """\
# Settings of OJP

Written by `python -m ojp_sizing.settings` from `data/ojp_settings.csv`; change the table, not this page.

* **Default** is that of server and driver 0.3.1 where not said otherwise.
* **The chart** is stored in two states. `Chart.yaml` of 215d365 says 0.1.5; its defaults are those of the server, all of
  them. `values.yaml` of 17c35b7 differs in three: `server.prometheusPort` is 9090, and it has neither `server.driversPath`
  nor `server.slowQuerySegregation.updateGlobalAvgInterval`. Which version that state is can't be verified: its
  `Chart.yaml` isn't stored. Its README is a part of that of 215d365, so it is the earlier one (INFER). What the
  `values.yaml` of `ojp-size` states is the same under both. Templates: `statefulset.yaml` of a94d06d, `configmap.yaml` of
  2b673b0, the Services' of 17c35b7 and 215d365; that 0.1.5 as published has these is INFER.
* **Since** and **until** are empty where every version looked at has the setting. *Era A* are the servers 0.1 to 0.3,
  *era B* those from about 0.4.16 on.
* A server setting is read from its system property first, then from its environment variable: the key in capitals with
  `_` for each dot. A number that can't be read is replaced by the default, without an error.
* **Source** names the section of the behaviour reference and how sure it is: CODE (read in the source), RUN (that
  class was run too), DOC (documents only), INFER (concluded from CODE), GENERAL (knowledge about Kubernetes, the
  JVM or HikariCP).
"""


def _cell(text: str) -> str:
    """Plain text as the content of a Markdown table's cell."""
    escaped = "".join("\\" + c if c in r"\`*_[]<>|#" else c for c in text)
    return " ".join(escaped.split())


def _code(text: str) -> str:
    """Text in code marks, fit for a table's cell; nothing for nothing."""
    return "`" + text.replace("|", "\\|") + "`" if text else ""


def _range(setting: Setting) -> str:
    if setting.choices:
        return _code("|".join(setting.choices))
    java_low, java_high = JAVA_BOUNDS.get(setting.type, (None, None))
    low = "" if setting.minimum in (None, java_low) else f"{setting.minimum}"
    high = "" if setting.maximum in (None, java_high) else f"{setting.maximum}"
    if low and high:
        return f"{low} to {high}"
    return f"at least {low}" if low else f"at most {high}" if high else ""


def _shown(value: Value) -> str:
    if isinstance(value, str):
        return _code(value) if value else "(empty)"
    return "" if value is None else _code(json.dumps(value))


def _table(rows: list[Setting], helm: bool) -> list[str]:
    columns = [
        "Key",
        *(["Helm value"] if helm else []),
        "Default",
        "Unit",
        "Range",
        "Since",
        "Until",
        "What it does to capacity",
        "Source",
    ]
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for s in rows:
        cells = [_code(s.key), *([_code(s.helm_path)] if helm else []), _shown(s.default), _cell(s.unit), _range(s)]
        cells += [_cell(s.since), _cell(s.until), _cell(s.capacity_effect), _cell(s.source)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def page() -> str:
    """The table as a Markdown page."""
    lines = [_INTRODUCTION]
    for side, heading in _HEADINGS.items():
        rows = [s for s in settings().values() if s.side == side]
        lines += [f"## {heading}", "", *_table(rows, helm=side == "server"), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
