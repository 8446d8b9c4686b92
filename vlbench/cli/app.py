"""The `vlbench` command: its subcommands, and the one place where errors become exit codes."""

from __future__ import annotations

import re
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vlbench import __version__
from vlbench.cli.compare import compare
from vlbench.cli.config import default_map, note_unknown_variables
from vlbench.cli.control import cancel, retry
from vlbench.cli.data import data
from vlbench.cli.doctor import doctor
from vlbench.cli.import_checkpoint import import_checkpoint
from vlbench.cli.logs import logs
from vlbench.cli.output import note
from vlbench.cli.params import params
from vlbench.cli.plan import plan
from vlbench.cli.plot import plot
from vlbench.cli.pretrain import pretrain
from vlbench.cli.report import report
from vlbench.cli.results import commands as results
from vlbench.cli.run import run
from vlbench.cli.score import score
from vlbench.cli.show import list_cards, show
from vlbench.cli.status import status
from vlbench.cli.verify import verify
from vlbench.errors import BUG, INTERRUPTED, explain

LONG_LINE = re.compile(r"(.{1000}).{1000,}(.{1000})")
"""A line of a message that repeats more of what was given than anybody reads."""


class Commands(TyperGroup):
    """Commands whose options have environment variables: `--results` is VLBENCH_RESULTS."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The subcommand, which reads its options' variables without its own name in them."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            command.context_settings.setdefault("auto_envvar_prefix", "VLBENCH")
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The subcommand to run, whose defaults are those of the configuration files."""
        if ctx.parent is None:
            note_unknown_variables(self)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and "--help" not in rest:  # help works with a faulty file too
            command.context_settings.setdefault("default_map", default_map(command))
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand; an error that vlbench explains ends in its message and exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            note("vlbench: interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except (Exception, SystemExit) as error:
            explained = explain(error)
            if explained is None:
                raise
            note(LONG_LINE.sub(r"\1 ... \2", f"vlbench: {explained}"))
            raise typer.Exit(explained.exit_code) from None


app = typer.Typer(
    name="vlbench",
    cls=Commands,
    help="Which parameter-efficient tuning method for a vision-and-language model, at what cost.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: faster, and not wrapped into panels
    pretty_exceptions_enable=False,
)


def _version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"vlbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command()(run)
app.command()(plan)
app.command()(status)
app.command()(logs)
app.command()(cancel)
app.command()(retry)
app.command()(report)
app.command()(compare)
app.command()(verify)
app.command()(params)
app.command()(score)
app.command("list")(list_cards)
app.command()(show)
app.add_typer(data, name="data", cls=Commands)
app.add_typer(results, name="results", cls=Commands)
app.add_typer(plot, name="plot", cls=Commands)
app.command()(pretrain)
app.command()(import_checkpoint)
app.command()(doctor)


def main() -> None:
    """Run the command line; an error that vlbench cannot explain is its own bug: exit code 5."""
    try:
        app(prog_name="vlbench")
    except Exception:
        traceback.print_exc()
        note(
            f"vlbench {__version__}: this is a bug in vlbench, not in what you typed. "
            "Please report it with the lines above."
        )
        sys.exit(BUG)
