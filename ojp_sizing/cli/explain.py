"""``ojp-size explain --follow 17``: what happens to one unit of work, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ojp_sizing.cli.flags import (
    DEMAND,
    EXECUTION,
    OBJECTIVES,
    SEARCH,
    read_execution,
    read_file,
    read_question,
    together,
)
from ojp_sizing.cli.size import DEPLOYMENT, VERSION, read_version
from ojp_sizing.cli.terminal import console, progress
from ojp_sizing.deployment.situations import SITUATIONS
from ojp_sizing.ending import interruptible
from ojp_sizing.errors import EXIT_NOT_MET, InputError

if TYPE_CHECKING:
    from ojp_sizing.deployment.deployment import Deployment
    from ojp_sizing.simulation.outcomes import Outcomes
    from ojp_sizing.sizing.question import Execution, Question

FLAGS = together(
    click.option(
        "--follow",
        required=True,
        metavar="UNIT",
        help="Which unit of work: its number, from 0 in the order in which they come; slowest; or failed, the first that did.",
    ),
    click.option(
        "--during",
        default="steady-peak",
        show_default=True,
        type=click.Choice(list(SITUATIONS)),
        help="In which situation (docs/deployment.md).",
    ),
    DEMAND,
    DEPLOYMENT,
    VERSION,
    OBJECTIVES,
    SEARCH,
    EXECUTION,
)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@FLAGS
def command(**options: Any) -> int:
    """Print what happens to one unit of work: when, for how long, and what it waits for.

    Of the deployment of --deployment where that has a replicaCount, else of the one that the demand is sized for. Exit code 3
    where there is no such unit, or no deployment that holds.
    """
    from dataclasses import replace

    from ojp_sizing.report.follow import follow_table, headline
    from ojp_sizing.sizing.looking import watch

    file = read_file(options["deployment"])
    question, execution = read_question(options, file), read_execution(options)
    situation = SITUATIONS[options["during"]]
    file = replace(file, version=read_version(options["ojp_version"], file.version))
    if file.replicas is not None:
        deployment, _ = file.judged(question.known, question.database)
        deployment = replace(deployment, warm_pools=not options["cold_pools"])
    else:
        version, constants = file.version_for(question.most_replicas), file.constants_over(question.known)
        question = replace(question, version=version, constants=constants)
        deployment = _sized(question, execution)
    unit = _chosen(options["follow"], watch(question, deployment, situation, execution).outcomes)
    steps = watch(question, deployment, situation, execution, follow=unit).outcomes.followed
    out = console()
    if not steps:
        out.print(f"the run ended before unit {unit} was due", highlight=False)
        return EXIT_NOT_MET
    out.print(headline(unit, question, deployment, situation, steps), highlight=False, soft_wrap=True)
    out.print()
    out.print(follow_table(steps))
    return 0


def _sized(question: Question, execution: Execution) -> Deployment:
    from ojp_sizing.sizing.recommendation import size

    with progress() as listener, interruptible():
        answer = size(question, execution, listener)
    if answer.evaluation is None:
        problem = "no deployment that was tried holds"
        raise InputError("--peak-rps", problem, "name one with --deployment, a values.yaml")
    return answer.evaluation.deployment


def _chosen(text: str, outcomes: Outcomes) -> int:
    """The number of the unit."""
    from ojp_sizing.behaviour.kinds import Ending
    from ojp_sizing.quantities import parse_whole

    if text == "slowest":
        return int(outcomes.latency_s.argmax())
    if text == "failed":
        failed = (outcomes.outcome > Ending.OK).nonzero()[0]
        if not len(failed):
            raise InputError("--follow", f"none of {outcomes.arrived:,} units failed", "write slowest, or a number")
        return int(failed[0])
    return parse_whole(text, "--follow", 0, 2**31)
