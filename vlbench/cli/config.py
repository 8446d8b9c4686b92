"""Configuration on the command line: defaults of options, `--set` over the files, `show config`."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from vlbench.cards.files import parse_toml
from vlbench.cli.output import note
from vlbench.errors import CardError

if TYPE_CHECKING:
    from vlbench.config import Config

Item = dict[str, Any]
PREFIX = "VLBENCH"
NOT_OPTIONS = {
    "VLBENCH_CACHE": "where what can be made again is kept",
    "VLBENCH_CHECKPOINT_SECONDS": "how often a training run keeps a checkpoint",
    "VLBENCH_CONFIG": "the project's configuration file",
    "VLBENCH_FAKE_GPUS": "GPUs to pretend, for tests of the launchers",
    "VLBENCH_TORCH_INDEX": "a further package index, read by make",
}
"""Variables that no option reads, and what they are for."""
BUILT_IN = "built-in"


def default_map(command: Any) -> dict[str, Any]:
    """What the configuration files say in place of the defaults of a command's options.

    Typer takes the command line first, then variables, then these. `doctor` starts without a faulty
    file, as it tells what is wrong with it.
    """
    from vlbench.config import option_defaults

    try:
        values = option_defaults()
    except CardError:
        if command.name != "doctor":
            raise
        return {}
    return {
        option.name: _fitting(values[option.name], option.multiple)
        for option in _options(command)
        if option.name in values
    }


def merged_settings(given: Iterable[str] | None) -> tuple[str, ...]:
    """`--set` over `VLBENCH_SET` over `[set]`, key by key; tells what comes from a file."""
    from vlbench.config import load_config

    config = load_config()
    typed = _by_key([*_variable_settings(), *(given or ())])
    written = {
        key: f"{key}={_spelt(value)}"
        for key, value in config.card_settings.items()
        if key not in typed
    }
    for key, setting in written.items():
        note(f"{config.sources[f'set.{key}']}: {setting}")
    return (*written.values(), *typed.values())


def refuse_outside_code(context: typer.Context) -> None:
    """Refuse code that the project's file names and this command would run without --outside-code.

    What the command line, variables and the user's own file name is the user's choice.
    """
    from vlbench.config import load_config

    if not context.params.get("outside_code"):
        config = load_config()
        config.refuse_code(_keys_that_name_code(context, config))


def _keys_that_name_code(context: typer.Context, config: Config) -> Iterator[str]:
    """The keys of files that count in this command and whose values are code, or name some."""
    from vlbench.cards.files import split_names
    from vlbench.cards.task import find_tasks

    given = context.params

    def from_file(option: str) -> str:
        source = context.get_parameter_source(option)
        is_default = source is not None and source.name == "DEFAULT_MAP"
        return str(given[option]) if is_default else ""

    if ":" in from_file("encoder"):
        yield "encoder"
    if tasks := from_file("tasks"):
        cards = [card for name in split_names(tasks) for card in find_tasks(name)[1]]
        if any(":" in f"{card.reader}{card.metric}{card.submission}" for card in cards):
            yield "tasks"
    if "settings" in given:
        typed = _by_key([*_variable_settings(), *(given["settings"] or ())])
        if "technique" not in typed and ":" in str(config.card_settings.get("technique")):
            yield "set.technique"
    if given.get("launcher") == "slurm":
        yield from (key for key in config.sources if key.startswith(("slurm.setup", "slurm.extra")))


def note_unknown_variables(root: Any) -> None:
    """Tell of variables that are spelt like ours and that nothing reads."""
    names = sorted(name for name in os.environ if name.startswith(f"{PREFIX}_"))
    known = {*NOT_OPTIONS, *map(_variable, _all_options(root))} if names else set()
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            guess = f" Did you mean {close[0]}?" if close else ""
            note(f"vlbench: nothing reads the variable {name}.{guess}")


def configuration(root: Any) -> list[Item]:
    """Every key of a configuration file and every variable that is set: value and source."""
    from vlbench.config import load_config

    config = load_config()
    return [*_option_items(root, config), *_card_items(config), *_slurm_items(config)]


def _option_items(root: Any, config: Config) -> Iterator[Item]:
    """The options of a file's keys as `run` has them, then others with a variable; the cache."""
    from vlbench.config import NOT_OPTIONS as TABLES
    from vlbench.config import Settings
    from vlbench.files import cache_place

    run = root.commands["run"]
    context = typer.Context(run, auto_envvar_prefix=PREFIX, default_map=default_map(run))
    options = {option.name: option for option in (*_all_options(root), *_options(run))}
    names = [name for name in Settings.model_fields if name not in TABLES and name in options]
    others = [
        name
        for name, option in sorted(options.items())
        if name not in names and os.environ.get(_variable(option)) and name != "settings"
    ]
    for option in (options[name] for name in (*names, *others)):
        value, origin = option.consume_value(context, {})
        sources = {
            "ENVIRONMENT": _variable(option),
            "DEFAULT_MAP": str(config.sources.get(option.name)),
        }
        yield _item(option.name, value, sources.get(origin.name, BUILT_IN))
    yield _item("cache", *cache_place())


def _card_items(config: Config) -> Iterator[Item]:
    """What `--set` would change in a card without being given."""
    variable = _by_key(_variable_settings())
    for key, value in config.card_settings.items():
        if key not in variable:
            yield _item(f"set.{key}", value, str(config.sources[f"set.{key}"]))
    for key, setting in variable.items():
        yield _item(f"set.{key}", setting.partition("=")[2].strip(), f"{PREFIX}_SET")


def _slurm_items(config: Config) -> Iterator[Item]:
    from vlbench.config import leaves

    for key, value in leaves({"slurm": config.slurm.model_dump()}):
        yield _item(key, value, str(config.sources.get(key, BUILT_IN)))


def _item(key: str, value: object, source: str) -> Item:
    if isinstance(value, list | tuple):
        value = [str(each) for each in value]
    elif value is not None and not isinstance(value, str | int | float):
        value = str(value)
    return {"kind": "config", "key": key, "value": value, "source": source}


def _options(command: Any) -> list[Any]:
    """The options of one command, as Typer made them."""
    return [each for each in command.params if each.param_type_name == "option"]


def _all_options(command: Any) -> Iterator[Any]:
    """The options of all subcommands."""
    for each in getattr(command, "commands", {}).values():
        yield from _options(each)
        yield from _all_options(each)


def _variable(option: Any) -> str:
    """The variable that an option reads."""
    return str(option.envvar or f"{PREFIX}_{option.name.upper()}")


def _fitting(value: Any, is_repeatable: bool) -> Any:
    """A value as the option takes it: one command's list is another one's comma list."""
    return [value] if is_repeatable and not isinstance(value, list) else value


def _variable_settings() -> list[str]:
    """The settings of the variable, parted as Typer parts them."""
    return os.environ.get(f"{PREFIX}_SET", "").split()


def _by_key(settings: Iterable[str]) -> dict[str, str]:
    """The last setting of each key."""
    return {text.partition("=")[0].strip(): text for text in settings}


def _spelt(value: object) -> str:
    """A value as one types it after `--set key=`: words that TOML would not take stay bare."""
    if isinstance(value, str):
        try:
            parse_toml(f"value = {value}", "")
        except (tomllib.TOMLDecodeError, CardError):
            return value
    return json.dumps(value, ensure_ascii=False)
