"""What `make test` and `make test-fast` promise, in whichever process a test is run."""

import re
import warnings
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "ojp_sizing"


def test_a_warning_is_an_error() -> None:
    with pytest.raises(UserWarning, match="mind"):
        warnings.warn("mind", stacklevel=1)


def test_the_fast_tests_have_something_of_every_part_of_the_package() -> None:
    texts = [path.read_text(encoding="utf-8") for path in TESTS.glob("test_*.py")]
    fast = "\n".join(text for text in texts if "pytest.mark.fast" in text)
    parts = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert len(parts) >= 10
    assert {part for part in parts if not re.search(rf"\bojp_sizing\.{part}\b", fast)} == set()
