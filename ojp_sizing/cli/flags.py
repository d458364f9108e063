"""Flags that more than one command takes, and what they say: a Question and an Execution.

Only click is imported at the top; what is heavy is loaded once there is something to read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ojp_sizing.deployment.situations import SITUATIONS, asked_for
from ojp_sizing.errors import InputError

if TYPE_CHECKING:
    from ojp_sizing.deployment.deployment import Database
    from ojp_sizing.deployment.reading import DeploymentFile
    from ojp_sizing.measurement.objectives import Objectives
    from ojp_sizing.sizing.question import Execution, Question

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def together(*flags: Decorator) -> Decorator:
    """Flags as one decorator, in this order in --help."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for flag in reversed(flags):
            function = flag(function)
        return function

    return decorate


#: What arrives, and what it meets.
DEMAND = together(
    click.option(
        "--peak-rps",
        required=True,
        metavar="RATE",
        help="Peak demand, units of work per second: 5000, 5k, or a range, 4k..5k..8k."
        " One unit opens a JDBC connection, runs its statements and closes.",
    ),
    click.option(
        "--workload",
        default="web-oltp",
        show_default=True,
        metavar="NAME|FILE",
        help="A preset, or a YAML file (docs/workload.md).",
    ),
    click.option(
        "--client-jvms",
        default=None,
        metavar="N",
        help="Number of client JVMs; otherwise as the workload says (16 in web-oltp).",
    ),
)
#: What is to hold.
OBJECTIVES = together(
    click.option(
        "--fast-p99", default="50ms", show_default=True, metavar="TIME", help="p99 of fast units at steady peak."
    ),
    click.option(
        "--slow-p99", default="2s", show_default=True, metavar="TIME", help="p99 of slow units at steady peak."
    ),
    click.option("--failed", default="0.1%", show_default=True, metavar="SHARE", help="Failed units at steady peak."),
    click.option(
        "--disruption-factor",
        default="5",
        show_default=True,
        metavar="N",
        help="The percentiles may be so many times as large while a pod is lost and over a rolling update.",
    ),
    click.option(
        "--disruption-fast-p99",
        default=None,
        metavar="TIME",
        help="Instead of the factor: p99 of fast units in these windows.",
    ),
    click.option(
        "--disruption-slow-p99",
        default=None,
        metavar="TIME",
        help="Instead of the factor: p99 of slow units in these windows.",
    ),
    click.option(
        "--risk",
        default="10%",
        show_default=True,
        metavar="SHARE",
        help="Share of updates, and of losses, that may break a limit; above 0 to 50%. Shown with 95 % confidence.",
    ),
    click.option(
        "--disruption-failed", default="1%", show_default=True, metavar="SHARE", help="Failed units in these windows."
    ),
    click.option(
        "--recovery",
        default="60s",
        show_default=True,
        metavar="TIME",
        help="After a disruption the steady limits hold again within this.",
    ),
    click.option(
        "--also",
        multiple=True,
        type=click.Choice(asked_for()),
        help="Judge this too. Repeatable (docs/deployment.md).",
    ),
)
#: What the database has.
DATABASE = together(
    click.option(
        "--db-max-connections",
        default=None,
        metavar="N",
        help="The database's max_connections; otherwise the answer says what it needs.",
    ),
    click.option(
        "--db-cores", default=None, metavar="N", help="The database's cores; otherwise the answer says what it needs."
    ),
)
#: What may vary, within which bounds, and what it costs.
SEARCH = together(
    DATABASE,
    click.option(
        "--min-replicas", default="3", show_default=True, metavar="N", help="Fewest replicas that may be recommended."
    ),
    click.option(
        "--max-replicas", default="100", show_default=True, metavar="N", help="Most replicas that may be recommended."
    ),
    click.option(
        "--segregation",
        default="either",
        show_default=True,
        type=click.Choice(["either", "on", "off"]),
        help="OJP's slow and fast slots (slowQuerySegregation).",
    ),
    click.option(
        "--cold-pools",
        is_flag=True,
        help="The pools of a pod that comes back are built by the first clients, as OJP does it. Otherwise they may be built"
        " before clients reach the pod (docs/restarts.md).",
    ),
    click.option(
        "--price-core", default=None, metavar="N", help="Cost of a core a month; otherwise costs are in cores."
    ),
    click.option("--price-gib", default=None, metavar="N", help="Cost of a GiB of memory a month."),
    click.option("--price-connection", default=None, metavar="N", help="Cost of a database connection a month."),
)
#: How it is carried out.
EXECUTION = together(
    click.option("--seed", default="1", show_default=True, metavar="N", help="Seed of every random number."),
    click.option(
        "--engine",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "simpy", "compiled"]),
        help="Which clock runs the simulation.",
    ),
    click.option(
        "--workers",
        default=None,
        metavar="N",
        help="How many simulations run at a time; otherwise one per core. The answer is the same for any number.",
    ),
    click.option(
        "--scheduler",
        default=None,
        metavar="ADDRESS",
        help="Run the simulations on the Dask cluster of this scheduler, tcp://host:port (docs/clusters.md).",
    ),
    click.option(
        "--check-laws",
        is_flag=True,
        help="Check simulation invariants during each run (no permit or connection lent twice or lost, ...). Slower.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["normal", "high"]),
        default="normal",
        show_default=True,
        help="high: also judge what comes near to a limit, however many runs it takes. Slower from 1,000 units/s on, and maybe"
        " some percent cheaper.",
    ),
    click.option(
        "--time-budget", default="10m", show_default=True, metavar="TIME", help="Give up looking after this (exit 4)."
    ),
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


def read_question(options: dict[str, Any], file: DeploymentFile) -> Question:
    """The question of these flags and of a deployment file's database, for OJP's default release and the table's constants."""
    from ojp_sizing.bounds import bound_of, told_as
    from ojp_sizing.demand.reading import read_workload
    from ojp_sizing.demand.workload import Clients
    from ojp_sizing.quantities import parse_growth, parse_number, parse_rate, parse_whole
    from ojp_sizing.sizing.question import Prices, Question, constants_of
    from ojp_sizing.uncertain import parse_range

    rate = parse_range(options["peak_rps"], lambda text: parse_rate(text, "--peak-rps"), "--peak-rps")
    least_rate = getattr(rate, "low", rate)
    refuse_if(least_rate <= 0, "--peak-rps", "a rate must be above 0", "write for example --peak-rps 5000")
    objectives = _read_objectives(options)
    database = _read_database(options, file.database)
    least = parse_whole(options["min_replicas"], "--min-replicas", 1, 1000)
    most = parse_whole(options["max_replicas"], "--max-replicas", least, 1000)
    workload = read_workload(options["workload"])
    costs = {
        name: _optional(options[f"price_{name}"], parse_number, f"--price-{name}")
        for name in ("core", "gib", "connection")
    }
    with told_as(lambda field: f"--price-{field}"):
        prices = Prices(**costs)
    jvms = bound_of(Clients, "jvms")
    return Question(
        workload=workload,
        rate=rate,
        database=database,
        objectives=objectives,
        least_replicas=least,
        most_replicas=most,
        segregation=options["segregation"],
        warm_pools="off" if options["cold_pools"] else "either",
        also=tuple(SITUATIONS[key] for key in options["also"]),
        prices=prices,
        constants=constants_of(workload, options["workload"]),
        client_jvms=_optional(
            options["client_jvms"],
            lambda text, place: parse_whole(text, place, jvms.least, jvms.most),
            "--client-jvms",
        ),
        growth=_optional(options.get("growth"), parse_growth, "--growth"),
    )


def read_execution(options: dict[str, Any]) -> Execution:
    """How the runs are to be carried out; ``--check-laws`` holds in this process and its workers from here on."""
    from ojp_sizing.quantities import parse_duration, parse_whole
    from ojp_sizing.sizing.question import Execution

    if options["check_laws"]:
        from ojp_sizing.simulation.clock import Clock

        Clock.checked = True
    return Execution(
        seed=parse_whole(options["seed"], "--seed", 0, 2**63 - 1),
        engine=options["engine"],
        scheduler=options["scheduler"],
        workers=_optional(options["workers"], lambda text, place: parse_whole(text, place, 1, 1024), "--workers"),
        budget_s=parse_duration(options["time_budget"], "--time-budget"),
        explain=options.get("explain", False),
        precision=options["precision"],
    )


def read_file(path: str | None) -> DeploymentFile:
    """The deployment file of a flag, or one that says nothing."""
    from ojp_sizing.deployment.reading import DeploymentFile, read_deployment

    return DeploymentFile("") if path is None else read_deployment(path)


def refuse_if(is_bad: bool, place: str, problem: str, fix: str) -> None:
    """Raise InputError where something is bad."""
    if is_bad:
        raise InputError(place, problem, fix)


def _optional(text: str | None, parse: Callable[[str, str], Any], flag: str) -> Any:
    return None if text is None else parse(text, flag)


def _read_objectives(options: dict[str, Any]) -> Objectives:
    from ojp_sizing.bounds import told_as
    from ojp_sizing.measurement.objectives import Objectives
    from ojp_sizing.quantities import parse_duration, parse_fraction, parse_number

    limits = {
        "fast_p99_s": parse_duration(options["fast_p99"], "--fast-p99"),
        "slow_p99_s": parse_duration(options["slow_p99"], "--slow-p99"),
        "failed_share": parse_fraction(options["failed"], "--failed"),
        "disruption_factor": parse_number(options["disruption_factor"], "--disruption-factor"),
        "disruption_failed_share": parse_fraction(options["disruption_failed"], "--disruption-failed"),
        "recovery_s": parse_duration(options["recovery"], "--recovery"),
        "disruption_fast_p99_s": _optional(options["disruption_fast_p99"], parse_duration, "--disruption-fast-p99"),
        "disruption_slow_p99_s": _optional(options["disruption_slow_p99"], parse_duration, "--disruption-slow-p99"),
        "risk": parse_fraction(options["risk"], "--risk"),
    }
    # A flag is called as its field without the unit.
    with told_as(lambda field: "--" + field.removesuffix("_s").removesuffix("_share").replace("_", "-")):
        return Objectives(**limits)


def _read_database(options: dict[str, Any], database: Database) -> Database:
    """The database of the flags over this one."""
    from dataclasses import replace

    from ojp_sizing.bounds import told_as
    from ojp_sizing.quantities import parse_cores, parse_whole

    if options["db_cores"] is not None:
        with told_as(lambda _: "--db-cores"):
            database = replace(database, cores=parse_cores(options["db_cores"], "--db-cores"))
    if options["db_max_connections"] is not None:
        most = parse_whole(options["db_max_connections"], "--db-max-connections", 1, 1_000_000)
        database = replace(database, max_connections=float(most))
    return database
