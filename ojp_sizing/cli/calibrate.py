"""``ojp-size calibrate``: the CPU constants of your own pods."""

from __future__ import annotations

from typing import Any

import click

from ojp_sizing.cli import delivering


@click.command(context_settings=delivering.SETTINGS)
@click.argument("file", required=False)
@click.option(
    "--url", default=None, metavar="URL", help="Instead of a file: a Prometheus that has OJP's metric and cAdvisor's."
)
@delivering.RANGE
@click.option("--step", default="1m", show_default=True, metavar="TIME", help="The time between two points.")
@delivering.SELECTOR
@click.option("--cpu-selector", default="", metavar="LABELS", help="Which containers: 'container=\"ojp-server\"'.")
@delivering.OUTPUT
@delivering.FORCE
def command(file: str | None, **options: Any) -> int:
    """The CPU of a call on your pods, by least squares of container CPU seconds against calls per method.

    From a Prometheus, or from a table with the columns cores, pods and calls a second by method (connect, executeQuery, ...).
    What is written is a file for --deployment that sets these constants; the answer then names them as yours (docs/fit.md).
    """
    from ojp_sizing.errors import InputError
    from ojp_sizing.quantities import parse_duration
    from ojp_sizing.telemetry.calibration import (
        calibrate,
        calibration_lines,
        calibration_yaml,
        use_from_file,
        use_from_prometheus,
    )
    from ojp_sizing.telemetry.prometheus import prometheus_at

    if (file is None) == (options["url"] is None):
        raise InputError(
            "--url", "neither a file nor a server is named, or both", "name a table, or a Prometheus by --url"
        )
    if file is not None:
        use = use_from_file(file)
    else:
        server = prometheus_at(options["url"])
        step_s = parse_duration(options["step"], "--step")
        if step_s < 1:
            raise InputError("--step", "shorter than a second", "write for example 1m")
        use = use_from_prometheus(
            server, *delivering.range_of(options), step_s, options["selector"], options["cpu_selector"]
        )
    found = calibrate(use)
    lines = calibration_lines(found)
    delivering.deliver(options, lines, calibration_yaml(found, use.place, lines))
    return 0
