"""The parts of a chat model, and the sites in its decoder: by structure, not by a model's name.

A layer's attention is the child with separate query, key, value and output projections, its
feed-forward the one other child with linear layers. What they add to the residual stream may be
the output of a module behind them (a norm of Gemma's, a factor), so it is measured: of all outputs
within a layer, the pair whose combination a x + b y is the layer's output minus its input.

Shapes: T tokens, C hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import product
from typing import Any, NamedTuple, NoReturn, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from vlbench.backbones.base import Kind, Site
from vlbench.errors import UsageError

PROJECTIONS: dict[Kind, str] = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}
OUTPUTS = ("o_proj", "out_proj", "dense")
"""Names of an attention's output projection."""
PROBE_TOKENS = 6
RESIDUAL = 1e-4
"""Largest part of what a layer adds that its two sub-layers may leave unexplained."""
WITHOUT_SITES = "Methods without sites work: full, frozen, norms, bitfit, and peft by module names"


class Parts(NamedTuple):
    """What a chat model is made of."""

    stack: nn.Module
    """The decoder: token embedding, layers, last norm."""
    layers: nn.ModuleList
    tower: nn.Module
    """What reads pictures; with what reads clips or sounds where the model has such a part."""
    projector: list[nn.Parameter]
    """What lies between tower and decoder."""


class Sublayers(NamedTuple):
    """Paths within a layer: the sub-layers, and the modules whose outputs are added."""

    attention: str
    feed_forward: str
    attention_output: str
    feed_forward_output: str
    attention_entry: str
    """What enters a sub-layer enters this module first: its norm, maybe shared, or itself."""
    feed_forward_entry: str


def find_parts(model: Any) -> Parts:
    """The parts of a transformers model that answers texts about pictures."""
    config = model.config.get_text_config(decoder=True)
    kind, depth = model.config.model_type, getattr(config, "num_hidden_layers", 0)
    if model.config.is_encoder_decoder or config.is_encoder_decoder:
        raise UsageError(
            f"'{kind}' answers by an encoder-decoder: chat backbones are decoders that read the "
            "pictures amid the text."
        )
    stack, layers = _find_stack(model.get_decoder(), depth)
    reader, head = model.get_encoder(modality="image"), model.get_output_embeddings()
    if stack is None or layers is None or reader is None or head is None or _holds(reader, stack):
        raise UsageError(
            f"'{kind}': this model has no decoder of {depth} layers with an output layer beside a "
            "part that reads pictures: it cannot be a backbone."
        )
    tower = _with_other_towers(model, reader)
    others = {*tower.parameters(), *stack.parameters(), *head.parameters()}
    projector = [parameter for parameter in model.parameters() if parameter not in others]
    projector = projector or _within(reader, config.hidden_size)
    if not projector:
        raise UsageError(f"'{kind}': nothing lies between what reads pictures and its decoder.")
    return Parts(stack, layers, tower, projector)


def _with_other_towers(model: nn.Module, reader: nn.Module) -> nn.Module:
    """What reads pictures, with the models beside it that read clips, sounds or pictures too."""
    siblings = next(list(part.children()) for part in model.modules() if reader in part.children())
    others = [
        child
        for child in siblings
        if child is not reader
        and isinstance(child, PreTrainedModel)
        and child.main_input_name != "input_ids"
    ]
    return nn.ModuleList([reader, *others]) if others else reader


def _holds(module: nn.Module, part: nn.Module) -> bool:
    return any(part is inner for inner in module.modules())


def _find_stack(decoder: nn.Module, depth: int) -> tuple[nn.Module | None, nn.ModuleList | None]:
    """The module that holds the list of layers, and that list."""
    for module in decoder.modules():
        for child in module.children():
            if isinstance(child, nn.ModuleList) and len(child) == depth:
                return module, child
    return None, None


def _within(tower: nn.Module, width: int) -> list[nn.Parameter]:
    """A projector that is part of the tower: beside its layers, and as wide as the decoder."""
    parameters: list[nn.Parameter] = []
    for name, child in tower.named_children():
        is_layers = ("block" in name or "layer" in name) and "deepstack" not in name
        linears = [part for part in child.modules() if isinstance(part, nn.Linear)]
        if not is_layers and linears and linears[-1].out_features == width:
            parameters += child.parameters()
    return parameters


def find_sites(kind: str, parts: Parts, width: int) -> list[Site]:
    """Every attachment point of the decoder, in the order of the forward pass.

    UsageError where a layer is not made as techniques need it. On the meta device nothing can be
    measured: a site's module is the sub-layer itself there.
    """
    named = [_structure(f"'{kind}', layer {i}", layer) for i, layer in enumerate(parts.layers)]
    if next(parts.stack.parameters()).is_meta:
        sublayers = [Sublayers(*names, *names, *names) for names in named]
    else:
        sublayers = _measured(kind, parts, named)
    sites: list[Site] = []
    for i, (layer, paths) in enumerate(zip(parts.layers, sublayers, strict=True)):
        sites += _sites(i, layer, paths, width)
    return sites


def _structure(place: str, layer: nn.Module) -> tuple[str, str]:
    """Paths of a layer's attention and feed-forward."""
    for module in layer.modules():
        own = () if isinstance(module, nn.Conv1d) else module.parameters(recurse=False)
        if any(part.dim() > 2 for part in own):
            _refuse(place, "a parameter of more than two dimensions: a mixture of experts")
    with_linears = {
        name: child
        for name, child in layer.named_children()
        if any(isinstance(part, nn.Linear) for part in child.modules())
    }
    attentions = [name for name, child in with_linears.items() if _is_attention(child)]
    if len(attentions) != 1:
        _refuse(place, "not one attention with separate q_proj, k_proj, v_proj and an output")
    others = {name: child for name, child in with_linears.items() if name not in attentions}
    if len(others) != 1 or any(isinstance(child, nn.Linear) for child in others.values()):
        _refuse(place, f"not one feed-forward module beside it but {', '.join(others) or 'none'}")
    return attentions[0], next(iter(others))


def _is_attention(module: nn.Module) -> bool:
    names = {name for name, _ in module.named_children()}
    return names >= set(PROJECTIONS.values()) and bool(names & set(OUTPUTS))


def _refuse(place: str, what: str) -> NoReturn:
    raise UsageError(f"{place} of the decoder: {what}. {WITHOUT_SITES}.")


def _sites(number: int, layer: nn.Module, paths: Sublayers, width: int) -> list[Site]:
    """The sites of one layer."""

    def linear(name: str, kind: Kind, path: str, sublayer: Kind) -> Site:
        module: Any = layer.get_submodule(path)
        shape = module.in_features, module.out_features
        name = f"decoder_{number}_{name}"
        return Site(name, kind, "decoder", number, module, module, sublayer, *shape)

    def added(kind: Kind, path: str, entry: nn.Module) -> Site:
        module, name = layer.get_submodule(path), f"decoder_{number}_{kind}"
        return Site(name, kind, "decoder", number, module, entry, kind, width, width)

    attention = layer.get_submodule(paths.attention)
    names = dict(attention.named_children())
    output = next(name for name in OUTPUTS if name in names)
    feed_forward = layer.get_submodule(paths.feed_forward).named_modules()
    *into, last = (name for name, part in feed_forward if isinstance(part, nn.Linear))
    whole: Kind = "self_attention"
    sites = [
        linear(f"{whole}_{kind}", kind, f"{paths.attention}.{name}", whole)
        for kind, name in {**PROJECTIONS, "output": output}.items()
    ]
    entry = layer.get_submodule(paths.attention_entry)
    sites.append(added(whole, paths.attention_output, entry))
    whole = "feed_forward"
    kinds: list[tuple[Kind, str]] = [("feed_forward_in", name) for name in into]
    for kind, name in [*kinds, ("feed_forward_out", last)]:
        sites.append(linear(f"{whole}_{name}", kind, f"{paths.feed_forward}.{name}", whole))
    entry = layer.get_submodule(paths.feed_forward_entry)
    return [*sites, added(whole, paths.feed_forward_output, entry)]


def _measured(kind: str, parts: Parts, named: list[tuple[str, str]]) -> list[Sublayers]:
    """The sub-layers of every layer, by what each of them adds in a pass of a few tokens."""
    entered: list[tuple[Any, dict[str, Any]]] = []

    def keep(layer: nn.Module, inputs: Any, keywords: dict[str, Any]) -> None:
        entered.append((inputs, keywords))

    was_training, device = parts.stack.training, next(parts.stack.parameters()).device
    handles = [layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in parts.layers]
    stack: Any = parts.stack.eval()
    with torch.no_grad():
        try:
            stack(input_ids=torch.arange(PROBE_TOKENS, device=device)[None], use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        sublayers = [
            _measure(f"'{kind}', layer {i}", deepcopy(layer), names, *inputs)
            for i, (layer, names, inputs) in enumerate(
                zip(parts.layers, named, entered, strict=True)
            )
        ]
    parts.stack.train(was_training)
    return sublayers


class _Trace:
    """What entered and left each module of a layer, and the order in which they began and ended."""

    def __init__(self, layer: nn.Module) -> None:
        self.began: list[str] = []
        self.entered: dict[str, Tensor] = {}
        self.ended: list[str] = []
        self.outputs: dict[str, Tensor] = {}
        for path, module in layer.named_modules():
            module.register_forward_pre_hook(self._begin(path))
            module.register_forward_hook(self._end(path))

    def _begin(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self.began.append(path)
            if inputs and isinstance(inputs[0], Tensor):
                self.entered[path] = inputs[0]

        return hook

    def _end(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            self.ended.append(path)
            states = output[0] if isinstance(output, tuple) else output
            if isinstance(states, Tensor):
                self.outputs[path] = states.clone()

        return hook

    def outermost(self, shape: torch.Size) -> Iterator[str]:
        """The modules of that output shape; of several with equal outputs the outermost."""
        distinct: list[Tensor] = []
        for path in sorted(self.outputs, key=lambda path: path.count(".")):
            states = self.outputs[path]
            is_new = not any(torch.equal(states, other) for other in distinct)
            if path and states.shape == shape and is_new:
                distinct.append(states)
                yield path


def _measure(
    place: str, layer: nn.Module, named: tuple[str, str], inputs: Any, keywords: dict[str, Any]
) -> Sublayers:
    """The sub-layers of one layer, which is a copy, in double precision."""
    attention, feed_forward = named
    trace = _Trace(layer.double())
    entered = cast(Tensor, _doubled(inputs[0] if inputs else keywords["hidden_states"]))
    layer(*_doubled(inputs), **_doubled(keywords))
    added = (trace.outputs[""] - entered).flatten()
    ended = {path: number for number, path in enumerate(trace.ended)}
    paths = list(trace.outermost(entered.shape))
    middle, end = ended[attention], ended[feed_forward]
    firsts = [path for path in paths if middle <= ended[path] < end and not _in(path, feed_forward)]
    seconds = [path for path in paths if ended[path] >= end]
    pairs = (
        (_unexplained(added, *(trace.outputs[path].flatten() for path in pair)), pair)
        for pair in product(firsts, seconds)
    )
    unexplained, pair = min(pairs, default=(1.0, ("", "")))
    if not unexplained < RESIDUAL:
        _refuse(place, "no two modules' outputs explain what the layer adds")
    behind = trace.began[trace.began.index(pair[0]) + 1 : trace.began.index(feed_forward)]
    between = (path for path in behind if not _in(path, pair[0]) and not _in(path, attention))
    first = next(path for path in trace.began if path)
    first = attention if _in(first, attention) else first
    normed, read = trace.outputs.get(first), trace.entered.get(feed_forward)
    is_parallel = normed is not None and read is not None and torch.equal(normed, read)
    entries = (first, first if is_parallel else next(between, feed_forward))
    return Sublayers(attention, feed_forward, *pair, *entries)


def _in(path: str, module: str) -> bool:
    return f"{path}.".startswith(f"{module}.")


def _unexplained(added: Tensor, first: Tensor, second: Tensor) -> float:
    """The part of `added` that no combination of the two is; all are vectors."""
    both = torch.stack([first, second], dim=1)  # (T C, 2)
    rest = added - both @ torch.linalg.lstsq(both, added[:, None]).solution[:, 0]
    return float(rest.norm() / added.norm())


def _doubled(value: Any) -> Any:
    """Floating tensors in double precision, in tuples and dictionaries too."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, tuple | list):
        return type(value)(_doubled(part) for part in value)
    if isinstance(value, dict):
        return {key: _doubled(part) for key, part in value.items()}
    return value
