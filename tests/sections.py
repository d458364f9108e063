"""Parts of a page that a command writes: between two comments that name the command."""

import re
from collections.abc import Iterable, Sequence


def with_section(page: str, command: str, text: str) -> str:
    """The page with this text between the marks of ``command``; raises ValueError where it has none."""
    begin, end = f"<!-- made by {command} -->", f"<!-- end of {command} -->"
    found = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not found.search(page):
        raise ValueError(f"the page has no {begin}")
    return found.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", page)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
