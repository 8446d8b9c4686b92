"""Any tuner of the peft library (https://github.com/huggingface/peft) that injects layers.

`config` names peft's configuration class and the card gives that class's fields, so a card is all
that each of them takes. peft replaces modules of the pretrained model by layers of its own; what it
makes trainable trains, beside the visual embedding. An extra: pip install 'vlbench[peft]'.

Fields that name modules take words that fit every backbone: the projections of every attention
(`query`, `key`, `value`, `output`), the linear layers of every feed-forward (`feed_forward_in`,
`feed_forward_out`) and the pretrained `norms`. Anything else is peft's to match: the end of a
module's path in a list, a regular expression as a string.

AdaLoRA (Zhang et al., 2023, https://arxiv.org/abs/2303.10512) needs more than layers. Its update is
P diag(E) Q. A penalty holds P and Q near orthogonal, and after each step the rank budget falls from
`init_r` to `target_r` a matrix: for `tinit` steps not at all, then cubically, and for the last
`tfinal` steps not any more. peft computes importance and masks; this says when.
"""

from __future__ import annotations

import re
import typing
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, create_model, model_validator
from torch import Tensor, nn

from vlbench.backbones.base import PROJECTIONS, Backbone, Site
from vlbench.cards.schema import Checked, Fault, as_validation_error, check
from vlbench.errors import MissingError, UsageError, VlbenchError, nearest
from vlbench.techniques.base import Technique

TARGETS = ("target_modules", "exclude_modules", "feedforward_modules", "modules_to_save")
"""Fields that name modules."""
PHASES = ("tinit", "tfinal")
"""Lengths of AdaLoRA's first and last phase: steps, or below 1 shares of the run's steps."""
BEYOND = {
    **dict.fromkeys(("corda_config", "eva_config", "lora_ga_config"), "a pass over data first"),
    **dict.fromkeys(("kasa_config", "monteclora_config"), "a loss of its own"),
    "alora_invocation_tokens": "a forward pass of its own",
    "arrow_config": "adapters trained before",
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
COMPUTED = {"BOFT", "FROD", "SHIRA", "UNILORA"}
"""Kinds that compute with numbers when their layers are made: not on the meta device."""


def library(module: str = "peft") -> Any:
    """Import a module of the peft library, which takes seconds."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingError(
            f"peft cannot be imported: {error}: pip install 'vlbench[peft]'"
        ) from None


def config_classes() -> dict[str, Any]:
    """peft's configuration classes by name."""
    classes = library("peft.mapping").PEFT_TYPE_TO_CONFIG_MAPPING.values()
    return {config.__name__: config for config in classes}


@cache
def card_fields(config: Any) -> type[Checked]:
    """Return a model of the fields that a card may give: none of a saved adapter, none beyond."""
    types = {**typing.get_type_hints(config), **dict.fromkeys(PHASES, float)}
    left_out = {*library().PeftConfig.__dataclass_fields__, *BEYOND, "total_step"}
    names = [name for name in config.__dataclass_fields__ if name not in left_out]
    fields: dict[str, Any] = {name: (types[name], None) for name in names}
    return create_model(config.__name__, __base__=Checked, **fields)


def config_faults(name: str, given: dict[str, Any]) -> list[Fault]:
    """Return what is wrong with names and types; peft refuses the rest when a run is planned."""
    classes = config_classes()
    if name not in classes:
        return [Fault(("config",), f"Unknown configuration '{name}'. {nearest(name, classes)}")]
    faults = {
        (key,): f"It asks peft for {BEYOND[key]}, not for layers alone."
        for key in given & BEYOND.keys()
    }
    start = given.get("init_lora_weights")
    for beginning, why in INITIALISATIONS.items():
        if isinstance(start, str) and start.startswith(beginning):
            faults[("init_lora_weights",)] = f"'{start}' {why}."
    for fault in check(card_fields(classes[name]), given, ("params",))[1]:
        key, text = str(fault.at[1]), fault.text
        if (key,) in faults:  # another type of a union
            valid = text.removeprefix("Should be ").partition(", found ")[0]
            text = faults[(key,)].replace(", found ", f" or {valid}, found ", 1)
        faults[(key,)] = text
    if not faults and name == "AdaLoraConfig":
        return _schedule_faults(given)
    return [Fault(at, text) for at, text in faults.items()]


def _schedule_faults(given: Mapping[str, Any]) -> list[Fault]:
    """Return what peft would find out in the midst of training, or not in words."""
    phases = {key: given.get(key, 0) for key in PHASES}
    first, betas = given.get("init_r", 12), ("beta1", "beta2")
    steps = "a number of steps, or below 1 a share of them"
    rules = [
        *((key, n >= 0 and (n < 1 or n == int(n)), steps) for key, n in phases.items()),
        ("tfinal", sum(n for n in phases.values() if n < 1) < 1, "a share that leaves steps"),
        ("target_r", 0 < given.get("target_r", 8) < first, f"above 0 and below init_r={first}"),
        *((key, 0 < given.get(key, 0.85) < 1, "between 0 and 1") for key in betas),
    ]
    return [Fault((key,), f"Should be {text}.") for key, holds, text in rules if not holds]


@contextmanager
def refusing(name: str, given: Mapping[str, Any]) -> Iterator[None]:
    """Raise as a UsageError, at the key that peft names, why it cannot do what a card says."""
    try:
        yield
    except VlbenchError:
        raise
    except ImportError as error:
        raise MissingError(f"params.config: {name}: {error}") from error
    except Exception as error:  # whatever a class of peft raises
        text = first_sentence(error)
        keys = [key for key in given if re.search(rf"\b{key}\b", text)]
        key = keys[0] if len(keys) == 1 else "config"
        raise UsageError(f"params.{key}: {name}: {text}") from error


def first_sentence(error: BaseException) -> str:
    """Return the first sentence of an error of peft; with its type where that is needed."""
    text = " ".join(str(error).split())
    text = re.split(r"(?<=[\w`'\")\]])\. (?=[A-Z])", text, maxsplit=1)[0].rstrip(".")
    if isinstance(error, ValueError | Warning | NotImplementedError) and text:
        return f"{text}."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def words(backbone: Backbone) -> dict[str, list[str]]:
    """Return each word's modules, by their paths in the language model."""
    paths = {module: path for path, module in backbone.language.named_modules()}
    sites = backbone.sites()
    projections = {site.module for site in sites if site.kind in PROJECTIONS}
    named: dict[str, list[str]] = {"norms": [paths[norm] for norm in backbone.norms()]}
    for site in sites:
        linears = [m for m in (site.entry, *site.module.modules()) if isinstance(m, nn.Linear)]
        modules: dict[str, list[Any]]
        if site.kind in PROJECTIONS:
            modules = {site.kind: [site.module]}
        elif site.kind == "feed_forward":
            modules = {"feed_forward_in": linears[:-1], "feed_forward_out": linears[-1:]}
        else:
            modules = {"output": [m for m in linears if m not in projections]}
        for word, some in modules.items():
            named.setdefault(word, []).extend(paths[module] for module in some)
    return named


def translate(backbone: Backbone, field: str, value: Any) -> Any:
    """Replace words in a field's value by paths; UsageError of a name that fits no module."""
    known = words(backbone)
    if isinstance(value, str):
        return known.get(value, value)
    paths = [path for path, _ in backbone.language.named_modules()]
    for name in value:
        if name not in known and not any(f".{path}".endswith(f".{name}") for path in paths):
            ends = {path.rpartition(".")[2] for path in paths}
            names = {*known, *(end for end in ends if end and not end.isdigit())}
            raise UsageError(
                f"params.{field}: No module is called '{name}'. {nearest(name, names)}"
            )
    return [path for name in value for path in known.get(name, [name])]


def targets(config: Any, language: nn.Module) -> list[nn.Module]:
    """Return the modules that a configuration names; none where it leaves them to peft."""
    if config.target_modules is None:
        return []
    matches = library("peft.tuners.tuners_utils").check_target_module_exists
    return [m for path, m in language.named_modules() if path and matches(config, path)]


def inject(config: Any, language: nn.Module, device: torch.device) -> Any:
    """Replace modules of `language` by peft's layers, on its device; return peft's tuner."""
    kind = library("peft.mapping").PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
    on_cpu = device.type == "meta" and config.peft_type in COMPUTED
    with warnings.catch_warnings(), _zeros_in(config, language) if on_cpu else device:
        warnings.simplefilter("ignore", UserWarning)  # of merging, and of norms as layers
        warnings.simplefilter("error", RuntimeWarning)  # of patterns that match nothing
        return kind(language, config, "default")  # peft's own name for an adapter


@contextmanager
def _zeros_in(config: Any, language: nn.Module) -> Iterator[None]:
    """Zeros on CPU in what will be replaced; afterwards its own parameters, all on meta."""
    own = {module: dict(module.named_parameters()) for module in targets(config, language)}
    for module in own:
        module.to_empty(device="cpu")
        for parameter in module.parameters():
            nn.init.zeros_(parameter)
    yield
    language.to("meta")
    for module, parameters in own.items():
        for name, parameter in parameters.items():
            setattr(module, name, parameter)


class PeftParams(Checked):
    """The configuration class; every other key is a field of that class."""

    model_config = ConfigDict(extra="allow")

    config: str
    """Name of peft's configuration class: LoraConfig, IA3Config, ..."""

    @property
    def given(self) -> dict[str, Any]:
        """The fields of that class that the card gives."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _is_what_peft_takes(self) -> PeftParams:
        if faults := config_faults(self.config, self.given):
            raise as_validation_error(faults)
        return self


class Peft(Technique):
    """peft's layers in the pretrained model, one set for all tasks."""

    Params: ClassVar[type[Checked]] = PeftParams
    params: PeftParams
    _adalora: Any = None
    """peft's tuner, where it is AdaLoRA's."""

    def claims(self, backbone: Backbone) -> list[Site]:
        """The sites whose modules it replaces; all of them where that is left to peft."""
        config, sites = self._config(backbone), backbone.sites()
        replaced = set(targets(config, backbone.language))
        is_open = config.target_modules is None
        return [site for site in sites if is_open or {site.module, site.entry} & replaced]

    def attach(self, backbone: Backbone) -> None:
        """Let peft replace modules; what it adds counts as the technique's."""
        language, name = backbone.language, self.params.config
        before, self._norms = set(language.parameters()), backbone.norms()
        config = self._config(backbone)
        with refusing(name, self.params.given):
            tuner = inject(config, language, backbone.token_embedding.device)
        parameters = list(language.parameters())
        if set(tuner.parameters()) - set(parameters):
            raise UsageError(f"params.config: {name} works around the model, not by layers in it.")
        self.injected = nn.ParameterList(p for p in parameters if p not in before)
        self._learnt = [p for p in parameters if p.requires_grad]
        if name == "AdaLoraConfig":
            object.__setattr__(self, "_adalora", tuner)  # its modules are the backbone's

    def _config(self, backbone: Backbone) -> Any:
        """Make peft's configuration with this backbone's modules in it."""
        name = self.params.config
        kind = config_classes()[name]
        given = {
            key: translate(backbone, key, value) if key in TARGETS else value
            for key, value in self.params.given.items()
            if key not in PHASES
        }
        if "total_step" in kind.__dataclass_fields__:
            given["total_step"] = 1  # any value that peft takes: `stepped` sets the run's own
        with refusing(name, self.params.given), warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            config = kind(**given)
        if config.is_prompt_learning or config.is_adaption_prompt or config.peft_type == "POLY":
            raise UsageError(
                f"params.config: {name} is more than layers (prompts, or inputs of its own), and "
                "layers are all that vlbench takes from peft."
            )
        return config

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        """What peft made trainable, the visual embedding, and norms by the card."""
        if norms and backbone.norms() != self._norms:
            raise UsageError(
                f"train.norms: {self.params.config} trains copies in place of the norms, so they "
                "cannot train themselves; should be false."
            )
        return [backbone.visual, *self._learnt, *(self._norms if norms else [])]

    def penalty(self) -> Tensor | None:
        """AdaLoRA's orth_reg_weight x mean over all P and Q of |M M^T - I|, M of r rows."""
        tuner = self._adalora
        if tuner is None:
            return None
        name, norms = tuner.trainable_adapter_name, []
        for layer in tuner.model.modules():
            if isinstance(layer, tuner.tuner_layer_cls):
                for m in (layer.lora_A[name], layer.lora_B[name].T):  # (r, width)
                    gram = m @ m.T
                    norms.append(torch.linalg.norm(gram - torch.eye(len(gram), device=m.device)))
        weight: float = tuner.peft_config[name].orth_reg_weight
        return weight * torch.stack(norms).mean()

    def stepped(self, number: int, total: int) -> None:
        """Let AdaLoRA count importance and take away ranks."""
        tuner = self._adalora
        if tuner is None or total < 2:
            return  # of a single step there is no importance
        phases = [float(self.params.given.get(key, 0)) for key in PHASES]
        first, last = (int(phase * total) if phase < 1 else int(phase) for phase in phases)
        if first >= total - last:
            raise UsageError(
                f"params: tinit={first} and tfinal={last} leave no steps of {total} between them."
            )
        config = tuner.peft_config[tuner.trainable_adapter_name]
        config.total_step, config.tinit, config.tfinal = total, first, min(last, total - 2)
        tuner.update_and_allocate(number)

    def training_state(self) -> dict[str, Any]:
        tuner = self._adalora
        if tuner is None:
            return {}
        sums = {what: dict(getattr(tuner.rankallocator, sum)) for what, sum in SUMS.items()}
        return {**sums, "pattern": tuner.peft_config[tuner.trainable_adapter_name].rank_pattern}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        tuner = self._adalora
        if tuner is None:
            return
        device = next(tuner.parameters()).device
        for what, sum in SUMS.items():
            tensors = {name: tensor.to(device) for name, tensor in state[what].items()}
            setattr(tuner.rankallocator, sum, tensors)
        tuner.peft_config[tuner.trainable_adapter_name].rank_pattern = state["pattern"]


SUMS = {"importance": "ipt", "sensitivity": "exp_avg_ipt", "uncertainty": "exp_avg_unc"}
"""A key of the training state -> the attribute of AdaLoRA's rank allocator."""
