"""``make bench``: figures measured side by side in one run, as ratios, and the table of ``docs/performance.md``.

Nothing here passes or fails. The machines that this runs on are shared: a ratio is the median of several turns, with the
least and the greatest; seconds are true of one machine at one time. Names of parts (``clocks``, ``c``, ...) choose some.
"""

from __future__ import annotations

import datetime
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from . import clocks, command_line, fleet, mmc
from .comparing import Row, table

PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "clocks": clocks.rows,
    "c": clocks.c_rows,
    "mmc": mmc.rows,
    "fleet": fleet.rows,
    "command_line": command_line.rows,
}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main(names: list[str]) -> None:
    measured = []
    for name in names or PARTS:
        for row in PARTS[name]():
            print(f"{row.what}: {row.result}  {row.remark}", flush=True)
            measured.append(row)
    print()
    print(f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {datetime.date.today()}.\n")
    print(table(measured))


if __name__ == "__main__":
    main(sys.argv[1:])
