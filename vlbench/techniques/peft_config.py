"""A card's `[params]` as a configuration of the peft library: what it may say, what peft refuses.

The fields are those of the class that `config` names, with peft's types and defaults, less those
that describe a saved adapter and those that ask peft for more than layers.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vlbench.cards.checking import Fault, excerpt
from vlbench.errors import MissingError, nearest
from vlbench.techniques.peft_adalora import PHASES, SET_BY_THE_RUN, schedule_faults

BEYOND = {
    "alora_invocation_tokens": "a forward pass of its own",
    "arrow_config": "adapters trained before",
    "corda_config": "a pass over data before training",
    "eva_config": "a pass over data before training",
    "kasa_config": "a loss of its own",
    "lora_ga_config": "a pass over data before training",
    "monteclora_config": "a loss of its own",
    "runtime_config": "settings of one machine",
    "use_asa": "a schedule of its own",
}
"""Fields that ask peft for more than layers: it would take them here, and do nothing."""
INITIALISATIONS = {
    "eva": "needs a pass over data before training, which is not made",
    "pissa_niter": "splits the weights at random, so a saved adapter would not fit them again; "
    "'pissa' splits them exactly",
}
"""Values of `init_lora_weights` that peft takes and vlbench cannot, by their beginning."""


def library(module: str = "peft") -> Any:
    """A module of the peft library; importing it takes seconds, so it is asked for late."""
    try:
        return import_module(module)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("peft"):
            raise MissingError("The peft library is missing: pip install 'vlbench[peft]'") from None
        raise MissingError(f"The peft library cannot be imported: {error}") from error


def config_classes() -> dict[str, Any]:
    """peft's configuration classes by name."""
    found = library("peft.mapping").PEFT_TYPE_TO_CONFIG_MAPPING.values()
    return {each.__name__: each for each in found}


def fields(config: Any) -> dict[str, Any]:
    """The fields a card may give, with their types."""
    of_a_file = {field.name for field in dataclasses.fields(library().PeftConfig)}
    left_out = {*of_a_file, *BEYOND, *SET_BY_THE_RUN}
    types = {**typing.get_type_hints(config), **dict.fromkeys(PHASES, float)}
    names = [field.name for field in dataclasses.fields(config)]
    return {name: types[name] for name in names if name not in left_out}


def config_faults(name: str, given: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with a card's parameters, as far as that needs no backbone to tell."""
    classes = config_classes()
    if name not in classes:
        return [Fault(("config",), f"Unknown configuration '{name}'. {nearest(name, classes)}")]
    types = fields(classes[name])
    faults = []
    for key, value in given.items():
        if key in BEYOND:
            faults.append(Fault((key,), f"It asks peft for {BEYOND[key]}, not for layers alone."))
        elif key in SET_BY_THE_RUN:
            faults.append(Fault((key,), "Not for a card to give: it is set when a run trains."))
        elif key not in types:
            faults.append(Fault((key,), f"Unknown parameter '{key}'. {nearest(key, types)}"))
        elif text := _value_fault(key, types[key], value):
            faults.append(Fault((key,), text))
    return faults or schedule_faults(name, given) or _refusals(name, given)


def new_config(name: str, given: Mapping[str, Any]) -> Any:
    """peft's configuration object; raises whatever peft raises."""
    config = config_classes()[name]
    known = {field.name for field in dataclasses.fields(config)}
    values = {key: value for key, value in given.items() if key not in PHASES}
    later = {key: value for key, value in SET_BY_THE_RUN.items() if key in known}
    return config(**values, **later)


def reason(error: BaseException) -> str:
    """What an error of peft says, its first sentence; with its type where that is needed."""
    text = " ".join(str(error).split())
    text = re.split(r"(?<=[\w`'\")\]])\. (?=[A-Z])", text, maxsplit=1)[0].rstrip(".")
    if isinstance(error, ValueError | Warning | NotImplementedError) and text:
        return f"{text}."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def keys_in(text: str, given: Mapping[str, Any]) -> list[str]:
    """The key that a message of peft speaks of; none where it is not one of the card's."""
    keys = [key for key in given if re.search(rf"\b{key}\b", text)]
    return keys if len(keys) == 1 else []


def _value_fault(key: str, kind: Any, value: object) -> str | None:
    if key == "init_lora_weights" and isinstance(value, str):
        for start, why in INITIALISATIONS.items():
            if value.startswith(start):
                return f"'{value}' {why}."
    try:
        TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        wanted = [each["msg"].removeprefix("Input should be ") for each in error.errors()]
        return f"Should be {' or '.join(dict.fromkeys(wanted))}, found {excerpt(value)}."
    return None


def _refusals(name: str, given: Mapping[str, Any]) -> list[Fault]:
    """What peft itself refuses or warns of, at the key it speaks of where that is one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            config = new_config(name, given)
    except ImportError as error:
        raise MissingError(f"{name}: {error}") from error
    except Exception as error:  # whatever a class of peft makes of it
        text = reason(error)
        return [Fault(tuple(keys_in(text, given)), f"{name}: {text}")]
    if config.is_prompt_learning or config.is_adaption_prompt:
        text = f"{name} has no layers to inject, and layers are all that vlbench takes from peft."
        return [Fault(("config",), f"{text} The technique 'prompt' tunes prompts.")]
    return []
