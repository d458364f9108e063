"""What a check found as tools take it: one JSON document, JUnit's XML, SARIF 2.1.0."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree as Xml

from ojp_sizing import __version__
from ojp_sizing.checking.checklist import Row, State
from ojp_sizing.checking.complaints import Complaint, Level
from ojp_sizing.measurement.objectives import Verdict
from ojp_sizing.report.words import judgement_words
from ojp_sizing.sizing.recommendation import Judged

_SARIF_LEVELS = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "note"}
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def missed(judged: Judged | None) -> Iterator[tuple[str, str]]:
    """Every limit that isn't met, as situation and words."""
    for situation, result in judged.evaluation.results.items() if judged else ():
        told = [judgement_words(one) for one in result.judgements if not one.verdict.is_met]
        if result.reason:
            told.append(result.reason)
        if not result.verdict.is_met:
            yield situation.words, "; ".join(told) or result.verdict.value


def complaint_record(one: Complaint) -> dict[str, Any]:
    return {
        "level": one.level.value, "name": one.name, "file": one.file, "line": one.line, "path": one.path,
        "text": one.text, "fix": one.fix, "source": one.source,
    }  # fmt: skip


def row_record(row: Row) -> dict[str, str]:
    return {"chapter": row.chapter, "name": row.name, "state": row.state.value, "words": row.words}


def _plain(text: str) -> str:
    """XML 1.0 takes no control characters, however they are written."""
    return "".join(c if c.isprintable() else " " for c in text)


def junit(verdict: str, complaints: Sequence[Complaint], rows: Sequence[Row], judged: Judged | None) -> str:
    """One suite: a case for each complaint, each situation and each row. What fails is what the exit code fails for."""
    suite = Xml.Element("testsuite", name="ojp-size check")
    cases = failures = skipped = 0

    def case(group: str, name: str) -> Xml.Element:
        nonlocal cases
        cases += 1
        return Xml.SubElement(suite, "testcase", classname=_plain(group), name=_plain(name))

    for one in complaints:
        element = case("ojp-size.values", f"{one.name} {one.place}")
        words = _plain(f"{one.text}; {one.fix}")
        if one.level is Level.ERROR:
            failures += 1
            Xml.SubElement(element, "failure", message=words, type=one.name)
        else:
            Xml.SubElement(element, "system-out").text = f"{one.level.value}: {words}"
    broken = dict(missed(judged))
    for situation in judged.evaluation.results if judged else ():
        element = case("ojp-size.situations", situation.words)
        if situation.words in broken:
            failures += 1
            Xml.SubElement(element, "failure", message=_plain(broken[situation.words]), type=verdict)
    for row in rows:
        element = case("ojp-size.checklist", f"{row.chapter}: {row.name}")
        if row.state is not State.MET:
            skipped += 1
            Xml.SubElement(element, "skipped", message=_plain(f"{row.state.value}: {row.words}"))
    for name, number in (("tests", cases), ("failures", failures), ("errors", 0), ("skipped", skipped)):
        suite.set(name, str(number))
    Xml.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(suite, encoding="unicode") + "\n"


def sarif(complaints: Sequence[Complaint], judged: Judged | None, first_file: str) -> str:
    """A log of one run. A situation in which a limit isn't met is a result at the first file."""
    results = [
        _result(one.name, _SARIF_LEVELS[one.level], f"{one.text}. Fix: {one.fix}.", one.file, one.line)
        for one in complaints
    ]
    for situation, words in missed(judged):
        verdict = judged.evaluation.verdict if judged else Verdict.UNDECIDED
        level = "error" if verdict is Verdict.NOT_MET else "warning"
        results.append(_result("limit-not-met", level, f"{situation}: {words}", first_file, None))
    rules = [{"id": name} for name in dict.fromkeys(str(result["ruleId"]) for result in results)]
    driver = {"name": "ojp-size", "version": __version__, "rules": rules}
    run = {"tool": {"driver": driver}, "results": results, "columnKind": "unicodeCodePoints"}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _result(rule: str, level: str, text: str, file: str, line: int | None) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": file.replace("\\", "/").replace(" ", "%20")}}
    if line:
        place["region"] = {"startLine": line}
    return {"ruleId": rule, "level": level, "message": {"text": text}, "locations": [{"physicalLocation": place}]}
