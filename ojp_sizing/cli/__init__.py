"""``ojp-size``: from a demand figure to a Helm values file, and its subcommands.

Only click is imported here and at the top of the commands: ``--help`` answers at once, and everything heavy is loaded by the
work itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from ojp_sizing.cli import size
from ojp_sizing.ending import claim_the_end, heed_signals, interrupted, leave
from ojp_sizing.errors import EXIT_BAD_INPUT, InputError

#: What was typed is repeated up to so many characters.
MOST_SAID = 400


@dataclass(frozen=True, slots=True)
class Subcommand:
    """The module that has it, as ``command``, and its line in --help; the module is loaded where it is run."""

    module: str
    help: str


#: By name, in the order of --help.
SUBCOMMANDS: dict[str, Subcommand] = {
    "check": Subcommand("ojp_sizing.checking.command", "Check values files: what is wrong, and what they carry."),
    "compare": Subcommand("ojp_sizing.cli.compare", "The same demand on two releases of OJP, side by side."),
    "explain": Subcommand("ojp_sizing.cli.explain", "What happens to one unit of work, step by step."),
    "fit": Subcommand("ojp_sizing.cli.fit", "Make a workload from what runs today: statistics, monitoring, logs."),
    "calibrate": Subcommand("ojp_sizing.cli.calibrate", "The CPU of a call on your own pods."),
    "report": Subcommand("ojp_sizing.cli.report", "The review of a sizing, as one HTML page."),
}


class Group(click.Group):
    """The sizing by its flags alone, or a subcommand with flags of its own. Each returns its exit code."""

    def invoke(self, ctx: click.Context) -> NoReturn:
        try:
            sys.exit(super().invoke(ctx))
        except KeyboardInterrupt:  # click would add an empty line
            interrupted()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Where a subcommand comes first no flag of the sizing is there, and none is missing.
        ctx.resilient_parsing = bool(args) and not args[0].startswith("-")
        rest = super().parse_args(ctx, args)
        ctx.resilient_parsing = False
        return rest

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in SUBCOMMANDS:
            from ojp_sizing.reading import did_you_mean

            fix = did_you_mean(cmd_name, list(SUBCOMMANDS))
            raise click.UsageError(f"No such subcommand: {cmd_name}; {fix}", ctx)
        found: click.Command = import_module(SUBCOMMANDS[cmd_name].module).command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if SUBCOMMANDS:
            with formatter.section("Subcommands, each with a --help of its own"):
                formatter.write_dl([(name, one.help) for name, one in SUBCOMMANDS.items()])


@click.group(
    cls=Group,
    invoke_without_command=True,
    subcommand_metavar="[SUBCOMMAND ...]",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@size.FLAGS
@click.version_option(package_name="ojp-sizing")
@click.pass_context
def command(context: click.Context, /, **options: Any) -> int:
    """Size an OJP (Open J Proxy) deployment by simulation, and write the Helm values.

    Exit codes: 0 met (or met by the model), 2 bad input, 3 not met (none of the deployments tried holds), 4 undecided;
    ended by a signal: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
    """
    if context.invoked_subcommand is None:
        return size.run(options)
    for flag in context.command.params:
        if context.get_parameter_source(flag.name or "") is ParameterSource.COMMANDLINE:
            fix = f"write it behind {context.invoked_subcommand}"
            raise InputError(flag.opts[0], "stands before the subcommand", fix)
    return 0


def main() -> None:
    """Every error of the user's is one line and exit 2; a signal is one line too, and 128 with its number."""
    heed_signals()
    _guarded(lambda: command.main(standalone_mode=False))


def _guarded(run: Callable[[], Any]) -> None:
    # Not by the interpreter's own end, which takes its time and gives a signal back to the system.
    try:
        run()
        leave("", 0)
    except SystemExit as ended:
        leave("", int(ended.code or 0))
    except InputError as error:
        leave(str(error), EXIT_BAD_INPUT)
    except click.exceptions.Abort:
        interrupted()
    except click.ClickException as error:
        leave(told(error), EXIT_BAD_INPUT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        leave("", 0)
    except Exception:
        # Workers that a signal has ended are no error to tell of.
        claim_the_end()
        raise


def told(error: click.ClickException) -> str:
    """A refusal of click's in one line, which can't steer the terminal whatever was typed."""
    message = " ".join(error.format_message()[:MOST_SAID].split())
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in message)
    context = getattr(error, "ctx", None)
    subcommand = f" {context.info_name}" if context is not None and context.parent is not None else ""
    return f"{plain} Try 'ojp-size{subcommand} --help'."
