"""peft's layers put into a model by its low-level tuners, and peft's refusals told as ours."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vlbench.errors import MissingError, UsageError, VlbenchError
from vlbench.techniques.peft_config import keys_in, library, reason

ADAPTER = "default"
"""The name that peft's layers keep their weights under: its own default."""
COMPUTED = {"BOFT", "FROD", "SHIRA", "UNILORA"}
"""Kinds that compute with numbers when their layers are made: not on the meta device."""


@contextmanager
def refusing(name: str, given: Mapping[str, Any]) -> Iterator[None]:
    """Tell as a UsageError why peft cannot do what a card asks, at the key that peft speaks of."""
    try:
        yield
    except VlbenchError:
        raise
    except ImportError as error:
        raise MissingError(f"params.config: {name}: {error}") from error
    except Exception as error:  # whatever a tuner makes of it
        text = reason(error)
        keys = keys_in(text, given)
        raise UsageError(f"params.{keys[0] if keys else 'config'}: {name}: {text}") from error


def inject(config: Any, language: nn.Module, device: torch.device) -> Any:
    """Replace modules of `language` by peft's layers, on its device; returns peft's tuner."""
    kind = library("peft.mapping").PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
    is_shaped = device.type != "meta" or config.peft_type not in COMPUTED
    with warnings.catch_warnings(), device if is_shaped else _zeros_in(config, language, device):
        warnings.simplefilter("ignore", UserWarning)  # of merging, and of norms as layers
        warnings.simplefilter("error", RuntimeWarning)  # of patterns that match nothing
        return kind(language, config, ADAPTER)


@contextmanager
def _zeros_in(config: Any, language: nn.Module, device: torch.device) -> Iterator[None]:
    """Zeros on CPU for what will be replaced; afterwards its own parameters, all on `device`."""
    own = {module: dict(module.named_parameters()) for module in targets(config, language)}
    for module in own:
        module.to_empty(device="cpu")
        for parameter in module.parameters():
            nn.init.zeros_(parameter)
    yield
    language.to(device)
    for module, parameters in own.items():
        for name, parameter in parameters.items():
            setattr(module, name, parameter)


def targets(config: Any, language: nn.Module) -> list[nn.Module]:
    """The modules that a configuration names; none where it leaves them to peft."""
    if config.target_modules is None:
        return []
    matches = library("peft.tuners.tuners_utils").check_target_module_exists
    return [m for path, m in language.named_modules() if path and matches(config, path)]


def try_layers(language: nn.Module) -> None:
    """Run a layer of each kind on zeros: what it needs beside its input it tells only then."""
    base_class = library("peft.tuners.tuners_utils").BaseTunerLayer
    layers = {type(each): each for each in language.modules() if isinstance(each, base_class)}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for layer in layers.values():
            x = _token(layer.get_base_layer())
            if x is None:
                continue
            try:
                layer(x)
            except (NotImplementedError, RuntimeError):
                if not x.is_meta:  # where not every operation is there
                    raise


def _token(base: Any) -> Tensor | None:
    """An input of one token, where the kind of layer tells its shape."""
    if isinstance(base, nn.Linear):
        return base.weight.new_zeros(1, 1, base.in_features)
    if isinstance(base, nn.Embedding):
        return torch.zeros(1, 1, dtype=torch.long, device=base.weight.device)
    return None
