"""Any tuner of the peft library (https://github.com/huggingface/peft) that injects layers.

`config` names peft's configuration class and the card gives that class's fields. peft replaces
modules of the pretrained model by layers of its own; what it makes trainable trains, beside the
visual embedding. An extra: pip install 'vlbench[peft]'.

Fields that name modules take words that fit every backbone: the projections of every attention
(`query`, `key`, `value`, `output`), the linear layers of every feed-forward (`feed_forward_in`,
`feed_forward_out`) and the pretrained `norms`. Anything else is peft's to match.

AdaLoRA (Zhang et al., 2023, https://arxiv.org/abs/2303.10512) needs more than layers. Its update is
P diag(E) Q. A penalty holds P and Q near orthogonal, and the rank budget falls from `init_r` to
`target_r` a matrix, between the first `tinit` and the last `tfinal` steps. peft computes importance
and masks; this says when.
"""

from __future__ import annotations

import typing
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, create_model, model_validator
from torch import Tensor, nn

from vlbench.backbones.base import LINEARS, PROJECTIONS, Backbone, Site
from vlbench.cards.checking import Checked, Generated, check
from vlbench.errors import MissingError, UsageError, nearest
from vlbench.techniques.base import Technique

TARGETS = ("target_modules", "exclude_modules", "feedforward_modules", "modules_to_save")
"""Fields that name modules."""
PHASES = ("tinit", "tfinal")
"""Lengths of AdaLoRA's first and last phase: steps, or below 1 shares of the run's steps."""
BEYOND = {
    *("corda_config", "eva_config", "lora_ga_config", "kasa_config", "monteclora_config"),
    *("alora_invocation_tokens", "arrow_config", "runtime_config", "use_asa"),
}
"""Fields that ask peft for more than layers: it would take them here, and do nothing."""
INITIALISATIONS = ("eva", "pissa_niter")
"""Beginnings of `init_lora_weights` that need a pass over data, or would not load again."""
SUMS = {"importance": "ipt", "sensitivity": "exp_avg_ipt", "uncertainty": "exp_avg_unc"}
"""A key of the training state -> the attribute of AdaLoRA's rank allocator."""


def library(module: str = "peft") -> Any:
    """Import a module of the peft library, which takes seconds."""
    try:
        return import_module(module)
    except ImportError as error:
        text = f"peft cannot be imported: {error}: pip install 'vlbench[peft]'"
        raise MissingError(text) from None


def config_classes() -> dict[str, Any]:
    """peft's configuration classes by name."""
    classes = library("peft.mapping").PEFT_TYPE_TO_CONFIG_MAPPING.values()
    return {config.__name__: config for config in classes}


@cache
def card_fields(config: Any) -> type[Checked]:
    """Return a model of the fields that a card may give: none of a saved adapter, none beyond."""
    types = typing.get_type_hints(config) | dict.fromkeys(PHASES, float)
    left_out = {*library().PeftConfig.__dataclass_fields__, *BEYOND, "total_step"}
    names = config.__dataclass_fields__.keys() - left_out
    fields: dict[str, Any] = {name: (types[name], None) for name in names}
    return create_model("Fields", __base__=Generated, **fields)


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Raise as a UsageError why peft cannot do what a card says."""
    try:
        yield
    except ImportError as error:
        raise MissingError(f"params.config: {name}: {error}") from error
    except Exception as error:  # whatever a class of peft raises
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"params.config: {name}: {text}") from error


def words(backbone: Backbone) -> dict[str, list[str]]:
    """Return each word's modules, by their paths in the part that peft may change."""
    named = defaultdict[str, list[Any]](list)
    paths = {module: path for path, module in backbone.injectable.named_modules()}
    named["norms"] += [norm for norm in backbone.norms() if norm in paths]
    try:
        sites = backbone.sites()
    except UsageError:  # names of its own modules still work
        sites = []
    projections = {site.module for site in sites if site.kind in PROJECTIONS}
    has_linears = any(site.kind == "output" for site in sites)
    for site in sites:
        linears = [m for m in (site.entry, *site.module.modules()) if isinstance(m, nn.Linear)]
        if site.kind in LINEARS:
            named[site.kind].append(site.module)
        elif has_linears:
            continue
        elif site.kind == "feed_forward":
            named["feed_forward_in"] += linears[:-1]
            named["feed_forward_out"] += linears[-1:]
        else:
            named["output"] += [m for m in linears if m not in projections]
    return {word: [paths[module] for module in modules] for word, modules in named.items()}


def translate(backbone: Backbone, field: str, value: Any) -> Any:
    """Replace words in a field's value by paths; UsageError of a name that fits no module."""
    known = words(backbone)
    if isinstance(value, str):
        return known.get(value, value)
    paths = [path for path, _ in backbone.injectable.named_modules()]
    for name in value:
        if name not in known and not any(f".{path}".endswith(f".{name}") for path in paths):
            ends = {path.rpartition(".")[2] for path in paths}
            names = {*known, *(end for end in ends if end and not end.isdigit())}
            known_names = nearest(name, names)
            raise UsageError(f"params.{field}: No module is called '{name}'. {known_names}")
    return [path for name in value for path in known.get(name, [name])]


class PeftParams(Checked):
    """The configuration class; every other key is a field of that class."""

    model_config = ConfigDict(extra="allow")

    config: str
    """Name of peft's configuration class: LoraConfig, IA3Config, ..."""

    @model_validator(mode="after")
    def _has_fields_of_that_class(self) -> PeftParams:
        """Check names and types; peft refuses the rest when a run is planned."""
        classes, given = config_classes(), self.model_extra or {}
        if self.config not in classes:
            known = nearest(self.config, classes)
            raise ValueError(f"Unknown configuration '{self.config}'. {known}")
        if beyond := sorted(given.keys() & BEYOND):
            raise ValueError(f"{beyond[0]} asks peft for more than layers.")
        start = str(given.get("init_lora_weights"))
        if start.startswith(INITIALISATIONS):
            raise ValueError(f"init_lora_weights = '{start}' needs data, or would not load again.")
        faults = check(card_fields(classes[self.config]), given)[1]
        if texts := {fault.key: fault.text for fault in reversed(faults)}:
            raise ValueError(" ".join(f"{key}: {text}" for key, text in texts.items()))
        if self.config == "AdaLoraConfig":
            first, last = given.get("init_r", 12), given.get("target_r", 8)
            if not 0 < last < first:
                raise ValueError(f"target_r={last} should be above 0 and below init_r={first}.")
        return self


class Peft(Technique):
    """peft's layers in the pretrained model, one set for all tasks."""

    merges = True
    Params: ClassVar[type[Checked]] = PeftParams
    params: PeftParams
    _adalora: Any = None
    """peft's tuner, where it is AdaLoRA's."""

    def claims(self, backbone: Backbone) -> list[Site]:
        """The sites whose modules it replaces; all of them where that is left to peft."""
        config, sites = self.config(backbone), backbone.sites()
        if config.target_modules is None:
            return sites
        matches = library("peft.tuners.tuners_utils").check_target_module_exists
        modules = backbone.injectable.named_modules()
        replaced = {module for path, module in modules if path and matches(config, path)}
        return [site for site in sites if {site.module, site.entry} & replaced]

    def attach(self, backbone: Backbone) -> None:
        """Let peft replace modules; what it adds counts as the technique's."""
        language, name = backbone.language, self.params.config
        before, self._norms = set(language.parameters()), backbone.norms()
        config = self.config(backbone)
        kind = library("peft.mapping").PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
        with refusing(name), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of merging, and of norms as layers
            warnings.simplefilter("error", RuntimeWarning)  # of patterns that match nothing
            tuner = kind(backbone.injectable, config, "default")  # peft's own name for an adapter
        parameters = list(language.parameters())
        if set(tuner.parameters()) - set(parameters):
            raise UsageError(f"params.config: {name} works around the model, not by layers in it.")
        self.injected = nn.ParameterList(p for p in parameters if p not in before)
        self._learnt = [p for p in parameters if p.requires_grad]
        if name == "AdaLoraConfig":
            object.__setattr__(self, "_adalora", tuner)  # its modules are the backbone's

    def config(self, backbone: Backbone) -> Any:
        """Make peft's configuration with this backbone's modules in it."""
        name, kind = self.params.config, config_classes()[self.params.config]
        given = {
            key: translate(backbone, key, value) if key in TARGETS else value
            for key, value in (self.params.model_extra or {}).items()
            if key not in PHASES
        }
        if "total_step" in kind.__dataclass_fields__:
            given["total_step"] = 1  # any value that peft takes: `stepped` sets the run's own
        with refusing(name), warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            config = kind(**given)
        if config.is_prompt_learning or config.is_adaption_prompt or config.peft_type == "POLY":
            raise UsageError(
                f"params.config: {name} is more than layers, which vlbench takes alone."
            )
        return config

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        """What peft made trainable, and norms by the card."""
        if norms and backbone.norms() != self._norms:
            what = f"{self.params.config} trains copies in place of the norms"
            raise UsageError(f"train.norms: {what}: should be false.")
        return [*self._learnt, *(self._norms if norms else [])]

    def penalty(self) -> Tensor | None:
        """AdaLoRA's orth_reg_weight x mean over all P and Q of |M M^T - I|, M of r rows."""
        tuner = self._adalora
        if tuner is None:
            return None
        norms = []
        for layer in tuner.model.modules():
            if isinstance(layer, tuner.tuner_layer_cls):
                for m in (layer.lora_A["default"], layer.lora_B["default"].T):  # (r, width)
                    gram = m @ m.T
                    norms.append(torch.linalg.norm(gram - torch.eye(len(gram), device=m.device)))
        weight: float = tuner.peft_config["default"].orth_reg_weight
        return weight * torch.stack(norms).mean()

    def stepped(self, number: int, total: int) -> None:
        """Let AdaLoRA count importance and take away ranks."""
        tuner = self._adalora
        if tuner is None or total < 2:
            return  # of a single step there is no importance
        given = self.params.model_extra or {}
        phases = [float(given.get(key, 0)) for key in PHASES]
        first, last = (int(phase * total) if phase < 1 else int(phase) for phase in phases)
        if first >= total - last:
            raise UsageError(
                f"params: tinit={first} and tfinal={last} leave no steps of {total} between them."
            )
        config = tuner.peft_config["default"]
        config.total_step, config.tinit, config.tfinal = total, first, min(last, total - 2)
        tuner.update_and_allocate(number)

    def training_state(self) -> dict[str, Any]:
        tuner = self._adalora
        if tuner is None:
            return {}
        sums = {what: dict(getattr(tuner.rankallocator, sum)) for what, sum in SUMS.items()}
        return {**sums, "pattern": tuner.peft_config["default"].rank_pattern}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        tuner = self._adalora
        if tuner is None:
            return
        device = next(tuner.parameters()).device
        for what, sum in SUMS.items():
            tensors = {name: tensor.to(device) for name, tensor in state[what].items()}
            setattr(tuner.rankallocator, sum, tensors)
        tuner.peft_config["default"].rank_pattern = state["pattern"]
