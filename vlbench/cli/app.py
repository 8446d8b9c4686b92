"""The `vlbench` command: its subcommands, and the one place where errors become exit codes."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperGroup

from vlbench import __version__
from vlbench.cli import example, note
from vlbench.cli.cards import list_cards, params, show
from vlbench.cli.data import data, import_checkpoint, pretrain, score
from vlbench.cli.options import PREFIX, default_map
from vlbench.cli.report import compare, plot, recommend, report
from vlbench.cli.run import cancel, plan, retry, run
from vlbench.cli.status import doctor, logs, status
from vlbench.cli.sweep import sweep
from vlbench.cli.trained import export, predict
from vlbench.cli.verify import results, verify
from vlbench.errors import BUG, INTERRUPTED, explain
from vlbench.process import AnswerLost

LONG_LINE = re.compile(r"(.{1000}).{1000,}(.{1000})")
"""A line of a message that repeats more of what was given than anybody reads."""
GROUPS: dict[str, dict[Any, str]] = {
    "Run": {
        run: "run --method compacter,lora --tasks image-text",
        plan: "plan --method compacter,lora --tasks image-text",
        sweep: "sweep --method full,frozen,lora --tasks image-text",
        cancel: "cancel 'lora seed 0'",
        retry: "retry --launcher slurm",
        predict: "predict lora --image a.png --text 'what is it?'",
        doctor: "doctor --backbone clip-bart --root data",
    },
    "Look": {
        status: "status --all",
        logs: "logs 'lora seed 0'",
        report: "report --tasks image-text --format markdown --out table.md",
        compare: "compare compacter full --tasks image-text",
        recommend: "recommend --tasks image-text --max-trainable 5",
        plot: "plot pareto --out pareto.svg",
        params: "params --backbone clip-bart --method compacter,lora",
        list_cards: "list methods",
        show: "show compacter",
    },
    "Data": {
        data: "data check --tasks image-text",
        score: "score gqa --predictions a.json --annotations b.json",
        import_checkpoint: "import-checkpoint a.pth --method lora --backbone clip-t5",
        pretrain: "pretrain mini-bart --out my-weights",
    },
    "Share": {
        verify: "verify results --tasks image-text",
        results: "results export --out runs.tar.gz",
        export: "export 'shared-lora seed 0' --out my-model",
    },
}
"""Group of the help -> command -> an example, whose first word is the command's name."""


class Commands(TyperGroup):
    """Commands whose options have environment variables: `--results` is VLBENCH_RESULTS."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the subcommand; the names of its options' variables do not hold its own."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            command.context_settings.setdefault("auto_envvar_prefix", PREFIX)
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the subcommand to run, whose defaults are those of the configuration files."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and "--help" not in rest:  # help works with a faulty file too
            command.context_settings.setdefault("default_map", default_map(command))
        return name, command, rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands under the headings of GROUPS, a whole line each."""
        groups: dict[str, Iterable[str]] = {"Commands": self.commands}
        if ctx.parent is None:
            groups = {group: map(_name, words.values()) for group, words in GROUPS.items()}
        width = max(map(len, self.commands))
        for group, names in groups.items():
            with formatter.section(group):
                lines = {n.ljust(width): self.commands[n].get_short_help_str(80) for n in names}
                formatter.write_dl(list(lines.items()))

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand; an error that vlbench explains ends in its message and exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            note("vlbench: interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except AnswerLost:
            raise
        except (Exception, SystemExit) as error:
            explained = explain(error)
            if explained is None:
                raise
            note(LONG_LINE.sub(r"\1 ... \2", f"vlbench: {explained}"))
            raise typer.Exit(explained.exit_code) from None


def _name(words: str) -> str:
    return words.partition(" ")[0]


app = typer.Typer(
    name="vlbench",
    cls=Commands,
    help="Which parameter-efficient tuning method for a vision-and-language model, at what cost.",
    epilog=example("run --method compacter --tasks image-text"),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: faster, and not wrapped into panels
    pretty_exceptions_enable=False,
)


def _print_version(is_given: bool) -> None:
    if is_given:
        typer.echo(f"vlbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_print_version, is_eager=True
    ),
) -> None:
    pass


for commands in GROUPS.values():
    for command, words in commands.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=_name(words), cls=Commands, epilog=example(words))
        else:
            app.command(_name(words), epilog=example(words))(command)


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
