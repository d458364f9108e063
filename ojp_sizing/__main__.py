"""``ojp-size`` from its first instant: signals are heeded before anything else is loaded."""

from ojp_sizing.ending import heed_signals


def main() -> None:
    """Entry point of ``ojp-size``."""
    heed_signals()
    from ojp_sizing import cli  # noqa: PLC0415 - an interruption may come amid this

    cli.main()


if __name__ == "__main__":
    main()
