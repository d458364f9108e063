"""``ojp-size fit``: a workload, its rate and its constants from what runs today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ojp_sizing.cli import delivering

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ojp_sizing.demand.workload import Workload
    from ojp_sizing.telemetry.demand import DemandFit
    from ojp_sizing.telemetry.series import Series

_UNITS = click.option(
    "--units", default=None, metavar="FILE", help="A YAML file that states the units of work (docs/fit.md)."
)
_DATABASE = click.option(
    "--database",
    multiple=True,
    metavar="NAME",
    help="Only statements of this database, as the export names it. Repeatable.",
)
_MOST_LEFT_OUT = click.option(
    "--most-left-out",
    default="50%",
    show_default=True,
    metavar="SHARE",
    help="Refuse an export of whose calls or time more than this would be left out.",
)


@click.group(context_settings=delivering.SETTINGS, no_args_is_help=False)
def command() -> None:
    """Fit a workload to what runs today (docs/fit.md)."""


@command.command("statements", context_settings=delivering.SETTINGS, short_help="An export of statement statistics.")
@click.argument("file")
@_UNITS
@_DATABASE
@_MOST_LEFT_OUT
@delivering.OUTPUT
@delivering.FORCE
def statements(file: str, **options: Any) -> int:
    """A workload from an export of pg_stat_statements, pghero, Performance Insights or MySQL's statement digests.

    CSV with any delimiter, JSON, or a table that psql or MySQL has printed. The workload is YAML.
    """
    from ojp_sizing.quantities import parse_fraction
    from ojp_sizing.telemetry.records import of_database, read_records
    from ojp_sizing.telemetry.statements import fit_statements
    from ojp_sizing.telemetry.words import statement_lines, with_head

    most = parse_fraction(options["most_left_out"], "--most-left-out")
    records = of_database(read_records(file), options["database"], "--database")
    fit = fit_statements(records, options["units"], most)
    lines = list(statement_lines(fit))
    delivering.deliver(options, lines, with_head(fit.workload, records.place, lines))
    return 0


@command.command(
    "postgres", context_settings=delivering.SETTINGS, short_help="A running PostgreSQL: two looks at its statistics."
)
@click.option("--dsn", required=True, metavar="DSN", help="postgresql://user@host:5432/database, without a password.")
@click.option("--window", default="10m", show_default=True, metavar="TIME", help="How long to wait between two looks.")
@click.option("--since", default=None, metavar="FILE", help="Instead of waiting: the first look, kept by --save.")
@click.option("--save", default=None, metavar="FILE", help="Only look once, and keep that.")
@click.option("--no-sql", is_flag=True, help="Leave the texts out of what is written.")
@_UNITS
@_MOST_LEFT_OUT
@delivering.OUTPUT
@delivering.FORCE
def postgres(dsn: str, **options: Any) -> int:
    """A workload and its rate from a running PostgreSQL, by two looks at pg_stat_statements.

    Each look is one short read-only transaction. The password comes from PGPASSWORD or ~/.pgpass; a member of pg_read_all_stats
    sees enough.
    """
    import time

    from ojp_sizing.errors import InputError
    from ojp_sizing.quantities import parse_fraction, parse_span
    from ojp_sizing.telemetry.postgres import (
        between,
        facts_of,
        read_snapshot,
        snapshot_text,
        take_snapshot,
        without_texts,
    )
    from ojp_sizing.telemetry.statements import fit_statements
    from ojp_sizing.telemetry.words import statement_lines, with_head

    most = parse_fraction(options["most_left_out"], "--most-left-out")
    window_s = parse_span(options["window"], "--window")
    if options["save"] is not None:
        if options["no_sql"]:
            raise InputError("--no-sql", "a look without texts can't be sorted out later", "leave it out with --save")
        look = take_snapshot(dsn)
        delivering.write(options["save"], options["force"], [], snapshot_text(look))
        return 0
    if options["since"] is not None:
        first = read_snapshot(options["since"])
    else:
        first = take_snapshot(dsn)
        click.echo(f"looked once; looking again in {options['window']}", err=True)
        time.sleep(window_s)
    last = take_snapshot(dsn)
    records = between(first, last, f"database {last.database!a}")
    if options["no_sql"]:
        records = without_texts(records)
    fit = fit_statements(records, options["units"], most)
    lines = [*statement_lines(fit), *(f"server: {flag} {said}" for flag, said in facts_of(first, last).items())]
    delivering.deliver(options, lines, with_head(fit.workload, records.place, lines))
    return 0


_WORKLOAD = click.option(
    "--workload",
    default="web-oltp",
    show_default=True,
    metavar="NAME|FILE",
    help="The workload whose arrivals are fitted: a preset, or a file, for example of 'fit statements'.",
)
_WINDOW = click.option(
    "--window", default="1m", show_default=True, metavar="TIME", help="The peak is a rate in windows of this length."
)
_PERCENTILE = click.option(
    "--percentile",
    default="99%",
    show_default=True,
    metavar="SHARE",
    help="So many of the windows are no busier than the peak.",
)


@command.command("demand", context_settings=delivering.SETTINGS, short_help="Rates, counts or logs in a file.")
@click.argument("file")
@_WORKLOAD
@_WINDOW
@_PERCENTILE
@click.option(
    "--values",
    default=None,
    type=click.Choice(["rate", "count", "counter"]),
    help="What a table's numbers are: so many a second, so many in each step, or a running total; otherwise by their names.",
)
@delivering.OUTPUT
@delivering.FORCE
def demand(file: str, **options: Any) -> int:
    """The peak rate and the arrivals from monitoring or logs: units of work over time.

    The JSON of a Prometheus range query, a CSV of Grafana or of counts per minute, an access log, PostgreSQL's log, a recording.
    """
    from ojp_sizing.telemetry.series import read_series

    workload = _workload(options)
    fit = _fitted_demand(options, read_series(file, options["values"]))
    _deliver_demand(options, workload, fit, [])
    return 0


@command.command(
    "prometheus", context_settings=delivering.SETTINGS, short_help="The metrics of OJP or of anything else."
)
@click.option(
    "--url", required=True, metavar="URL", help="The server, https://host:9090. Secrets come from the environment."
)
@delivering.RANGE
@delivering.SELECTOR
@click.option(
    "--query", default=None, metavar="PROMQL", help="Units of work a second, where OJP's own metric isn't there yet."
)
@_WORKLOAD
@_WINDOW
@_PERCENTILE
@delivering.OUTPUT
@delivering.FORCE
def prometheus(**options: Any) -> int:
    """The peak rate and the arrivals from a Prometheus, and statements in a unit from OJP's own metric where it is there.

    PROMETHEUS_TOKEN, or PROMETHEUS_USER and PROMETHEUS_PASSWORD, are sent where the environment has them.
    """
    from ojp_sizing.errors import InputError
    from ojp_sizing.telemetry.ojp_metrics import HISTOGRAM, load_lines, ojp_load, with_units
    from ojp_sizing.telemetry.prometheus import prometheus_at
    from ojp_sizing.telemetry.series import series_of_points

    workload = _workload(options)
    server = prometheus_at(options["url"])
    start_s, end_s = delivering.range_of(options)
    step_s = _window_s(options)
    if options["query"] is not None:
        tracks = server.query_range(options["query"], start_s, end_s, step_s)
        series = series_of_points([t.points for t in tracks], "--query", "rate", step_s)
        _deliver_demand(options, workload, _fitted_demand(options, series), [])
        return 0
    load = ojp_load(server, start_s, end_s, step_s, options["selector"])
    if load is None:
        fix = "name OJP's pods with --selector, or pass a --query that gives units of work a second"
        raise InputError("--url", f"no {HISTOGRAM} in the last {options['span']}", fix)
    fitted, said = with_units(workload, load)
    lines = [
        f"pods: {load.pods:.3g} in the mean; units are connects a second and pod",
        f"assumed: {said}",
        *load_lines(load),
    ]
    _deliver_demand(options, fitted, _fitted_demand(options, load.units), lines)
    return 0


def _workload(options: dict[str, Any]) -> Workload:
    from ojp_sizing.demand.reading import read_workload

    return read_workload(options["workload"])


def _fitted_demand(options: dict[str, Any], series: Series) -> DemandFit:
    from ojp_sizing.errors import InputError
    from ojp_sizing.quantities import parse_fraction
    from ojp_sizing.telemetry.demand import fit_demand

    quantile = parse_fraction(options["percentile"], "--percentile")
    if quantile <= 0:
        raise InputError("--percentile", "a share of 0", "write for example 99%")
    return fit_demand(series, _window_s(options), quantile)


def _window_s(options: dict[str, Any]) -> float:
    from ojp_sizing.errors import InputError
    from ojp_sizing.quantities import parse_duration

    window_s = parse_duration(options["window"], "--window")
    if window_s < 1:
        raise InputError("--window", "shorter than a second", "write for example 1m")
    return window_s


def _deliver_demand(options: dict[str, Any], workload: Workload, fit: DemandFit, more: Iterable[str]) -> None:
    from dataclasses import replace

    from ojp_sizing.bounds import MOST_LINE
    from ojp_sizing.telemetry.words import demand_lines, with_head

    lines = [*demand_lines(fit), *more]
    source = f"{workload.source}; arrivals fitted to {fit.series.place}"
    fitted = replace(workload, arrivals=fit.arrivals, source=source[:MOST_LINE])
    delivering.deliver(options, lines, with_head(fitted, fit.series.place, lines))
