"""A workload from an export of PostgreSQL's ``pg_stat_statements`` (CSV with a header).

    python -m ojp_sizing.telemetry.pg_stat_statements EXPORT.csv [UNITS.yaml] > workload.yaml

What the view tells: the SQL texts, their calls, the mean and spread of their execution times, their rows.

What it cannot tell, and what is assumed instead:

* which statements make up a unit of work. Say it in UNITS.yaml (``docs/workload.md``). Without it every unit draws its
  statements by their calls: as many as there are calls per COMMIT or ROLLBACK, in a transaction, where that is 1 to 20;
  else one, in auto-commit. Prepared COMMITs may be counted once per session only, so that the count can be too low.
* think time, clients and network: the defaults.
* the time between a COMMIT and the flush of the log, which is in no row, and planning, which is kept in columns of its
  own; neither is part of the times here.
* whether times were inflated by waits in the database: export at a moderate load.
"""

from __future__ import annotations

import io
import re
import sys
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ojp_sizing.demand.reading import workload_from_tree, workload_yaml
from ojp_sizing.demand.workload import Workload, normalised_sql
from ojp_sizing.errors import EXIT_BAD_INPUT, InputError
from ojp_sizing.quantities import format_duration, parse_whole, shown
from ojp_sizing.reading import load_tree, read_text

if TYPE_CHECKING:
    import pandas as pd

MOST_CSV_BYTES = 64 * 2**20
#: Above this, the COMMITs cannot belong to most statements: auto-commit prevails.
MOST_STATEMENTS_PER_COMMIT = 20
#: How far calls in the CSV may be from what the counted units make.
COUNT_TOLERANCE = 0.05
#: The part of all calls that no unit need account for.
UNEXPLAINED_CALLS = 0.01
_MOST_FIGURE = 1e15

_COLUMNS = ("calls", "rows", "mean_exec_time", "stddev_exec_time")
#: Names before PostgreSQL 13.
_OLD_NAMES = {"mean_time": "mean_exec_time", "stddev_time": "stddev_exec_time"}
_READS = frozenset({"select", "values", "table"})
_WRITES = frozenset({"insert", "update", "delete", "merge"})
_ENDS = frozenset({"commit", "end", "rollback", "abort"})
_PREFIX = re.compile(r"(?:\s+|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
_MONITORING = re.compile(r"\b(?:pg_catalog\.|information_schema\.|pg_stat|pg_class\b|pg_settings\b)", re.IGNORECASE)
_TARGET = re.compile(r"\b(?:from|into|update)\s+(?:only\s+)?([\w.\"]+)", re.IGNORECASE)


def read_pg_stat_statements(path: str | Path, units: str | Path | None = None) -> Workload:
    """The workload in an export at ``path``; ``units`` names a YAML file that states the units of work."""
    text, place = read_text(Path(path), most_bytes=MOST_CSV_BYTES)
    table = _table(text, place)
    verbs = table["query"].map(_verb)
    ends = int(table.loc[verbs.isin(_ENDS), "calls"].sum())
    classes = _pooled(table[verbs.isin(_READS | _WRITES | {"with"}) & ~table["query"].str.contains(_MONITORING)])
    if classes.empty:
        raise InputError(place, "no SELECT, INSERT, UPDATE, DELETE or MERGE in it", "export while the application runs")
    if units is None:
        return workload_from_tree(_assumed_units(int(classes["calls"].sum()), ends) | _statements(classes), place)
    composition_text, composition_place = read_text(Path(units))
    composition = load_tree(composition_text, composition_place)
    classes = _explained(classes, composition, composition_place)
    tree = _described() | composition | _statements(classes)
    return workload_from_tree(tree, composition_place, Path(units).parent)


# --- the CSV --------------------------------------------------------------------------------------------------------


def _table(text: str, place: str) -> pd.DataFrame:
    """The rows that were called at all, figures as floats (times in ms)."""
    import pandas as pd  # noqa: PLC0415  # 0.4 s that only this import needs

    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False).rename(columns=_OLD_NAMES)
    except (ValueError, OverflowError) as error:
        raise InputError(place, f"not CSV: {shown(str(error))}", "export with COPY ... (FORMAT csv, HEADER)") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise InputError(place, "rows with more fields than the header", "export with COPY ... (FORMAT csv, HEADER)")
    missing = [column for column in ("query", *_COLUMNS) if column not in table.columns]
    if missing:
        raise InputError(place, f"no column {', '.join(missing)}", "export the columns listed in docs/workload.md")
    for column in _COLUMNS:
        table[column] = pd.to_numeric(table[column].astype(str), errors="coerce").astype(float)
        bad = ~table[column].between(0, _MOST_FIGURE)
        if bad.any():
            raise InputError(
                f"{place}: row {int(bad.argmax()) + 2}: {column}", "not a number of 0 or more", "export anew"
            )
    if table["query"].str.startswith("<insufficient privilege>").any():
        raise InputError(place, "hidden SQL texts", "export as a member of pg_read_all_stats")
    return table[table["calls"] > 0]


def _verb(query: str) -> str:
    """The first word, in lower case, behind blanks, comments and parentheses."""
    prefix = _PREFIX.match(query)
    word = re.compile(r"[A-Za-z]*").match(query, prefix.end() if prefix else 0)
    return word[0].lower() if word else ""


def _pooled(table: pd.DataFrame) -> pd.DataFrame:
    """One row per text that OJP tells apart, the busiest first: query, calls, rows per call, mean (s) and cv."""
    calls, mean_ms = table["calls"], table["mean_exec_time"]
    sums = (
        table[["query", "calls", "rows"]]
        .assign(
            key=table["query"].map(normalised_sql),
            time=calls * mean_ms,
            square=calls * (mean_ms**2 + table["stddev_exec_time"] ** 2),
        )
        .groupby("key", as_index=False)
        .agg({"query": "first", "calls": "sum", "rows": "sum", "time": "sum", "square": "sum"})
    )
    mean = sums["time"] / sums["calls"]
    deviation = (sums["square"] / sums["calls"] - mean**2).clip(lower=0) ** 0.5
    # A single call has no spread; then, and for a mean below the clock's resolution, the usual guess.
    known = (sums["calls"] > 1) & (mean > 0)
    cv = (deviation / mean.where(known, 1)).where(known, 1.0)
    pooled = sums.assign(mean_s=(mean / 1000).where(mean > 0, 1e-6), cv=cv, rows=sums["rows"] / sums["calls"])
    pooled = pooled.sort_values(["calls", "key"], ascending=[False, True], ignore_index=True)
    return pooled.assign(name=_names(pooled["query"].tolist()))


# --- classes of statements ------------------------------------------------------------------------------------------


def _forms(query: str) -> tuple[str, str, str]:
    """Three names for a statement, from short to surely its own."""
    prefix = _PREFIX.match(query)
    words = re.findall(r"\w+", query[prefix.end() if prefix else 0 :][:200], re.ASCII)
    target = _TARGET.search(query)
    parts = [_verb(query)] + ([target[1]] if target else [])
    short = re.sub(r"\W+", "_", "_".join(parts), flags=re.ASCII).strip("_").lower()[:40]
    own = f"{zlib.crc32(normalised_sql(query).encode('utf-8', 'replace')):08x}"
    return short, f"{short}_{words[1].lower()[:14]}" if len(words) > 1 else short, f"{short}_{own}"


def _names(queries: list[str]) -> list[str]:
    """For each query the shortest form that no other query shares."""
    forms = [_forms(query) for query in queries]
    uses = [Counter(form[i] for form in forms) for i in range(3)]
    return [next((form[i] for i in range(2) if uses[i][form[i]] == 1), form[2]) for form in forms]


def _kind(query: str) -> str:
    verb = _verb(query)
    writes = verb in _WRITES or (verb == "with" and re.search(rf"\b(?:{'|'.join(sorted(_WRITES))})\b", query.lower()))
    return "write" if writes else "read"


def _result_rows(query: str, rows: float) -> int:
    """Rows sent to the client. For a write the view counts the rows changed, of which only the number is sent."""
    sent = _kind(query) == "read" or re.search(r"\breturning\b", query, re.IGNORECASE)
    return min(round(rows), 1_000_000) if sent else 0


def _statements(classes: pd.DataFrame) -> dict[str, object]:
    total = float(classes["calls"].sum())
    return {
        "statements": [
            {
                "name": name,
                "sql": query,
                "kind": _kind(query),
                "share": f"{calls / total:.9g}",
                "database_time": {"mean": format_duration(mean_s, significant=4), "cv": f"{round(cv, 4):.3g}"},
                "rows": str(_result_rows(query, rows)),
            }
            for name, query, calls, rows, mean_s, cv in zip(
                *(classes[c].tolist() for c in ("name", "query", "calls", "rows", "mean_s", "cv")), strict=True
            )
        ]
    }


# --- units of work --------------------------------------------------------------------------------------------------


def _described() -> dict[str, object]:
    return {
        "name": "pg_stat_statements",
        "description": "taken from an export of pg_stat_statements",
        "source": "measured - statement times, counts and rows; assumed - think time, clients and network",
    }


def _assumed_units(calls: int, ends: int) -> dict[str, object]:
    """Without a statement of the units: alike transactions where the COMMITs allow it, else single statements."""
    per_end = round(calls / ends) if ends else 0
    transaction = 1 <= per_end <= MOST_STATEMENTS_PER_COMMIT
    unit = {"name": "transaction", "statements": str(per_end)} if transaction else {"name": "statement"}
    source = "measured - statement times, counts and rows; assumed - units of work, think time, clients and network"
    return _described() | {"source": source, "units": [unit | {"transaction": str(transaction).lower()}]}


def _explained(classes: pd.DataFrame, composition: dict[str, object], place: str) -> pd.DataFrame:
    """Turn the counts of the units into shares, and keep the statements that the units run."""
    if "statements" in composition:
        raise InputError(f"{place}: statements", "they come from the CSV", "remove the key")
    units = composition.get("units")
    if not units or not isinstance(units, list) or not all(isinstance(unit, dict) for unit in units):
        return classes  # the reader of workloads says what is wrong
    expected = _counted(units, place)
    lists = [unit.get("statements") for unit in units]
    if not all(isinstance(steps, list) for steps in lists):
        return classes
    named = {str(name) for steps in lists if isinstance(steps, list) for name in steps}
    left_out = classes[~classes["name"].isin(named)]
    if left_out["calls"].sum() > UNEXPLAINED_CALLS * classes["calls"].sum():
        busiest = left_out["name"].iloc[0]
        raise InputError(f"{place}: units", f"no unit runs {shown(busiest)}", "name it in a unit")
    _compare(classes, expected, place)
    return classes[classes["name"].isin(named)]


def _counted(units: list[dict[str, object]], place: str) -> Counter[str]:
    """Replace every ``count`` by a ``share``; the calls per statement that the counts make."""
    if not any("count" in unit for unit in units):
        return Counter()
    counts = [
        parse_whole(str(unit.pop("count", "")), f"{place}: units[{index}].count", least=1)
        for index, unit in enumerate(units)
    ]
    expected: Counter[str] = Counter()
    for unit, count in zip(units, counts, strict=True):
        unit["share"] = f"{count / sum(counts):.9g}"
        steps = unit.get("statements")
        for name in steps if isinstance(steps, list) else []:
            expected[str(name)] += count
    return expected


def _compare(classes: pd.DataFrame, expected: Counter[str], place: str) -> None:
    for name, calls in zip(classes["name"].tolist(), classes["calls"].tolist(), strict=True):
        if expected[name] and abs(calls - expected[name]) > COUNT_TOLERANCE * expected[name]:
            problem = f"{calls:,.0f} calls of {shown(name)} in the CSV, but the units make {expected[name]:,}"
            raise InputError(f"{place}: units", problem, "count both over the same time")


def main(arguments: list[str]) -> int:
    """Print the workload; 2 on bad input."""
    if len(arguments) not in {1, 2}:
        sys.stderr.write("usage: python -m ojp_sizing.telemetry.pg_stat_statements EXPORT.csv [UNITS.yaml]\n")
        return EXIT_BAD_INPUT
    try:
        sys.stdout.write(workload_yaml(read_pg_stat_statements(*arguments)))
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
