"""The one error that a user can cause, and the exit codes of ``ojp-size`` that aren't a signal's."""

from __future__ import annotations

EXIT_BAD_INPUT = 2
EXIT_NOT_MET = 3
EXIT_UNDECIDED = 4


class InputError(ValueError):
    """Bad input: one line that names the place (a flag or a YAML path) and the fix."""

    def __init__(self, place: str, problem: str, fix: str = "") -> None:
        self.place, self.problem, self.fix = place, problem, fix
        super().__init__(f"{place}: {problem}" + (f"; {fix}" if fix else ""))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        """By its three parts: worker processes send their errors pickled."""
        return InputError, (self.place, self.problem, self.fix)
