"""README's answer at 5,000 units/s, by the command that it shows: ``make readme``, after a change that moves its numbers."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
COLUMNS = 140


def answer() -> str:
    """What the command prints into a file, in an empty directory; the spaces at the ends of lines left out."""
    command = [str(Path(sys.executable).with_name("ojp-size")), "--peak-rps", "5000"]
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "COLUMNS": str(COLUMNS)}
        done = subprocess.run(command, cwd=empty, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def main() -> None:
    page = README.read_text(encoding="utf-8")
    made, count = re.subn(r"```text\nMET.*?```", lambda _: f"```text\n{answer()}\n```", page, flags=re.DOTALL)
    if count != 1:
        raise SystemExit("README.md: there is no one answer to replace")
    README.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
