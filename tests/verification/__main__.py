"""``make verification``: run every case, and write the results, the page and its figures."""

import sys

from .cases import QUEUES
from .page import RESULTS, ROOT, documents, read_results, results_text
from .running import run_case

if __name__ == "__main__":
    results = []
    for queue in QUEUES:
        for load in queue.loads:
            for result in run_case(queue, load):
                verdict = "agrees" if result.passes else "DOES NOT AGREE"
                print(f"{result.queue:16} {result.load:<5} {result.measure:32} {verdict}", flush=True)
                results.append(result)
    text = results_text(results)
    RESULTS.write_text(text, encoding="utf-8")
    # From the file, so that the page shows what anyone finds in it.
    for path, content in documents(read_results(text)).items():
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_text(content, encoding="utf-8")
    sys.exit(0 if all(result.passes for result in results) else 1)
