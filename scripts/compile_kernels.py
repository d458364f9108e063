"""Compile the simulation as a part of the installation, so that the first answer doesn't wait for it."""

from __future__ import annotations

from ojp_sizing import Deployment, read_workload, sample_trace, simulate


def main() -> None:
    """The shortest of runs: nothing else is left to compile after it."""
    print("compiling the simulation (once, some 20 s) ...", flush=True)
    simulate(sample_trace(read_workload("web-oltp"), 10.0, 1.0, 1), Deployment(3, 1.0))


if __name__ == "__main__":
    main()
