"""``make verification``: run every case, and write the results, the page and its figures.

``python -m tests.verification --page`` writes page and figures from the committed results.
"""

import sys

from .cases import QUEUES
from .page import RESULTS, ROOT, documents, read_results, results_text
from .running import run_case

if __name__ == "__main__":
    page_only = sys.argv[1:] == ["--page"]
    results = read_results(RESULTS.read_text(encoding="utf-8")) if page_only else []
    for queue in () if page_only else QUEUES:
        for load in queue.loads:
            for result in run_case(queue, load):
                verdict = "agrees" if result.passes else "DOES NOT AGREE"
                print(f"{result.queue:16} {result.load:<5} {result.measure:32} {verdict}", flush=True)
                results.append(result)
    text = results_text(results)
    if not page_only:
        RESULTS.write_text(text, encoding="utf-8")
    # From the file, so that the page shows what anyone finds in it.
    for path, content in documents(read_results(text)).items():
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_text(content, encoding="utf-8")
    sys.exit(0 if all(result.passes for result in results) else 1)
