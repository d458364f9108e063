"""``make study``: run every case, write the results, and their section of docs/decision.md.

``python -m tests.study N``: by N processes, else one per core.
"""

import sys

from tests.sections import with_section

from .page import PAGE, RESULTS, section
from .study import read_results, results_text, run_study

if __name__ == "__main__":
    text = results_text(run_study(int(sys.argv[1]) if sys.argv[1:] else -1, lambda row: print(row, flush=True)))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text, encoding="utf-8")
    # From the file, so that the page shows what anyone finds in it.
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_section(page, "make study", section(*read_results(text))), encoding="utf-8")
