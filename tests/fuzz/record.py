"""What became of a run's inputs, as it is kept and shown."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).parent / "record.json"


@dataclass(frozen=True)
class Record:
    """What became of the inputs: counts by target and ending, and every fault by the input's number."""

    seed: int
    inputs: int
    date: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    endings: dict[str, dict[str, int]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def read_record() -> Record:
    """The committed record."""
    return Record(**json.loads(RECORD.read_text(encoding="utf-8")))


def table_of(record: Record) -> str:
    """Counts by door and ending, as Markdown."""
    heads = list(dict.fromkeys(ending for endings in record.endings.values() for ending in sorted(endings)))
    lines = [["door", "inputs", *heads], ["---"] * (2 + len(heads))]
    for door, endings in sorted(record.endings.items()):
        lines.append([door, f"{sum(endings.values()):,}", *(f"{endings[h]:,}" if h in endings else "" for h in heads)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def section(record: Record) -> str:
    """The part of docs/verification.md."""
    versions = ", ".join(f"{name} {number}" for name, number in sorted(record.versions.items()))
    ended = "none ended otherwise" if not record.faults else f"**{len(record.faults)} ended otherwise**"
    return f"""## Odd input

{record.inputs:,} inputs, made from good ones by a seeded generator (bytes, lines, numbers, values, flags and encodings changed),
went through every door of the tool. Each has to end as taken, or refused in one line of printable text that names the place
and the fix; {ended}. What is taken and written back has to read back as the same. The search behind a good
input is left out but for one in some tens, which is simulated for a moment with the model's laws held against it. Some go
through real processes, whole, with a second to search in: exit 0, 2, 3 or 4, no traceback, and files only with exit 0. Whole
answers are not the matter of this: that files are written all or none has its own tests.

{table_of(record)}

Seed {record.seed}, {record.date}; {versions}.
To repeat it, to run one input alone, and to make the page from what was found:

    python -m tests.fuzz --inputs {record.inputs} --seed {record.seed} --record
    python -m tests.fuzz --seed {record.seed} --only 4711
    python -m tests.verification --page

`make test` runs some hundreds. The bounds themselves are tested field by field in `tests/test_bounds.py`."""
