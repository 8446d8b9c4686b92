"""Ladder Side-Tuning (Sung et al., 2022, https://arxiv.org/abs/2206.06522).

Beside the frozen backbone stands a narrow network of its kind, with a layer for each of its layers.
The backbone reads the text alone; pictures enter the side network only:

    s_0 = P_0(e),  s_i = Side_i(g_i s_(i-1) + (1 - g_i) P_i(h_i)),  logits = head(U(s_n))

e: what enters the first layer, [text, vision] in the encoder, the answer so far in the decoder;
h_i: the backbone's states behind layer i, zero where vision is; g_i = sigmoid(alpha_i / 0.1). The
side decoder reads the side encoder. No gradient reaches the backbone's states, so none of its
activations is kept for the backward pass. The side layers start random or pruned, the P_i
and U as torch makes them.

T5's side network has position biases of its own. On BART, which the authors do not have, the side
layers are narrow BART layers, and s_0 passes an embedding norm of its own.

Pruning (section 3.3): the importance of a weight is its squared gradient, summed over training
examples, one by one, of the backbone's own loss on the text alone. Layer after layer the rows of
largest importance stay; the next layer loses the columns of the rows left out. Layers that read the
same input (query, key and value; the two of a gated feed-forward) keep the rows of the largest
product. Heads are not kept together; a cross-attention's key and value follow the decoder.

Shapes: B batch, L text tokens, S all encoder tokens, T target tokens, C hidden size,
D = C / reduction.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from functools import partial
from itertools import islice
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from transformers.cache_utils import DynamicLayer

from vlbench.backbones.base import SIDES, Backbone, Batch, Side, Site
from vlbench.backbones.encoder_decoder import EncoderDecoder, FeatureBatch, states, with_encoder
from vlbench.cards.checking import Checked
from vlbench.errors import UsageError
from vlbench.techniques.adapter import reduced_width
from vlbench.techniques.base import Technique

NEEDS = "lst walks beside an encoder that reads the text alone"


class LSTParams(Checked):
    """Parameters of Ladder Side-Tuning."""

    reduction: int = Field(default=4, ge=1)
    """Every width of the backbone divided by this, rounded down, is the side network's."""
    gates: Literal["learned", "fixed", "none"] = "learned"
    """g_i: learned, constant where they would start, or none: s_(i-1) + P_i(h_i)."""
    alpha: float = 0.0
    """Where alpha_i starts; 0 is a gate of one half."""
    temperature: float = Field(default=0.1, gt=0)
    """What alpha_i is divided by."""
    initialisation: Literal["random", "pruned"] = "pruned"
    """The side layers' first weights: new ones, or those of the backbone that pruning leaves."""
    samples: int = Field(default=1024, ge=1)
    """Training examples that pruning sums squared gradients over."""


def narrow_stacks(backbone: EncoderDecoder, reduction: int) -> dict[Side, Any]:
    """Make an encoder and decoder 1/reduction as wide, initialised by the library.

    They have the backbone's paths but no embeddings: what enters the first layer is given.
    """
    config = deepcopy(backbone.config)
    for name in backbone.widths:
        setattr(config, name, reduced_width(getattr(config, name), reduction, name))
    special = (config.pad_token_id, config.eos_token_id, config.decoder_start_token_id)
    config.vocab_size = 1 + max(special)  # of an embedding that is deleted
    try:
        language: Any = type(backbone.language)(config)
    except ValueError as error:  # where heads do not divide the width
        raise UsageError(f"params.reduction={reduction}: {error}") from None
    stacks: dict[Side, Any] = {"encoder": language.get_encoder(), "decoder": language.get_decoder()}
    for stack in stacks.values():
        for embedding in backbone.embeddings:
            delattr(stack, embedding)
    for module in stacks["decoder"].modules():
        if getattr(module, "layer_idx", None) is not None:  # behind the backbone's in its cache
            module.layer_idx += len(backbone.layers("decoder"))
    return stacks


class Gate(nn.Module):
    """g s + (1 - g) h with g = sigmoid(alpha / temperature); or s + h, without a gate."""

    def __init__(self, params: LSTParams) -> None:
        super().__init__()
        self.temperature = params.temperature
        start = torch.full((1,), params.alpha)
        kinds = {"learned": nn.Parameter(start), "fixed": nn.Buffer(start), "none": None}
        self.alpha = kinds[params.gates]

    def forward(self, s: Tensor, h: Tensor) -> Tensor:
        """(B, T, D), (B, T, D) -> (B, T, D)."""
        if self.alpha is None:
            return s + h
        gate = torch.sigmoid(self.alpha / self.temperature)
        return gate * s + (1 - gate) * h


class Ladder(nn.Module):
    """A narrow stack, its input projection P_0, and a projection P_i and gate for each layer."""

    def __init__(self, backbone: EncoderDecoder, side: Side, stack: Any, params: LSTParams) -> None:
        super().__init__()
        self.stack, self.first_norm = stack, backbone.first_norm
        self.layer_list = backbone.layer_list
        width, depth = stack.config.d_model, len(backbone.layers(side))
        self.entrance = nn.Linear(backbone.width, width)
        self.rungs = nn.ModuleList(nn.Linear(backbone.width, width) for _ in range(depth))
        self.gates = nn.ModuleList(Gate(params) for _ in range(depth))

    def begin(self, hidden: Tensor) -> Tensor:
        """s_0 of what enters the backbone's first layer: (B, T, C) -> (B, T, D)."""
        s = cast(Tensor, self.entrance(hidden))
        return self.stack.get_submodule(self.first_norm)(s) if self.first_norm else s

    def layer(self, number: int, s: Tensor, h: Tensor, inputs: dict[str, Any]) -> Tensor:
        """s_i of s (B, T, D) and the backbone's states h (B, L <= T, C) behind its layer."""
        h = self.rungs[number](h)
        h = functional.pad(h, (0, 0, 0, s.shape[1] - h.shape[1]))
        layer = self.stack.get_submodule(f"{self.layer_list}.{number}")
        return states(layer(self.gates[number](s, h), **inputs))


class DecoderHooks:
    """Hooks that run a ladder along a backbone's decoder, in training as in generation.

    The decoder is called with the states of the backbone and of the side encoder side by side,
    (B, S, C + D). Each of its layers is followed by the side layer; at the end the side's states,
    widened by `up`, replace its own. Within a pass: `encoded`, the side encoder's states (B, S, D)
    and mask (B, S); `s`, the side decoder's states (B, T, D); `inputs`, what else its layers read.
    """

    def __init__(self, backbone: EncoderDecoder, ladder: Ladder, up: nn.Module) -> None:
        self.backbone, self.ladder, self.up = backbone, ladder, up
        self.text_length = 0
        """Encoder tokens that are text, in the batch that was encoded last."""
        self.encoded: tuple[Tensor, Tensor] | None = None
        self.s: Tensor | None = None
        self.inputs: dict[str, Any] = {}
        stack, layers = backbone.stack("decoder"), backbone.layers("decoder")
        stack.register_forward_pre_hook(self.split, with_kwargs=True)
        layers[0].register_forward_pre_hook(self.begin, with_kwargs=True)
        for number, layer in enumerate(layers):
            layer.register_forward_hook(partial(self.side_layer, number))
        stack.register_forward_hook(self.end)

    def split(self, stack: nn.Module, inputs: Any, named: dict[str, Any]) -> Any:
        """Pre-hook of the decoder: give it its own states of the text; keep the side's."""
        both, mask = named["encoder_hidden_states"], named["encoder_attention_mask"]
        width, length = self.backbone.width, self.text_length
        self.encoded = self.s = None
        if both.shape[-1] == width:
            return None  # the backbone runs alone
        self.encoded = both[..., width:], mask
        own = both[:, :length, :width].detach()
        changed = {"encoder_hidden_states": own, "encoder_attention_mask": mask[:, :length]}
        return inputs, {**named, **changed}

    def begin(self, layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Any]) -> None:
        """Pre-hook of the first layer: s_0 of what enters it."""
        if self.encoded is not None:
            self.s, cache = self.ladder.begin(inputs[0]), named["past_key_values"]
            if cache is not None:  # room for the side layers' keys and values
                for part in (cache.self_attention_cache, cache.cross_attention_cache):
                    lacking = 2 * len(self.ladder.rungs) - len(part.layers)
                    part.layers.extend(DynamicLayer() for _ in range(lacking))  # type: ignore[no-untyped-call]
            stack = self.ladder.stack
            self.inputs = self.backbone.decoder_inputs(stack, self.s, *self.encoded, cache)

    def side_layer(self, number: int, layer: nn.Module, inputs: Any, output: Any) -> None:
        """Hook of a layer: run the side layer."""
        if self.s is not None:
            self.s = self.ladder.layer(number, self.s, states(output), self.inputs)

    def end(self, stack: nn.Module, inputs: Any, output: Any) -> Any:
        """Hook of the decoder: the side's states in place of its own."""
        s, self.s, self.encoded, self.inputs = self.s, None, None, {}
        if s is not None:
            output.last_hidden_state = self.up(self.backbone.leave(self.ladder.stack, s))
        return output


class LST(Technique):
    """A side network that trains in the backbone's place."""

    Params: ClassVar[type[Checked]] = LSTParams
    composes = False  # what else trained in the backbone would bring its activations back
    only_once = "the side network walks along its layers, and keeps little anyway"
    params: LSTParams

    def check(self, backbone: Backbone) -> None:
        with_encoder(backbone, NEEDS)
        super().check(backbone)

    def reduced_width(self, backbone: Backbone) -> int:
        return reduced_width(backbone.width, self.params.reduction)

    def claims(self, backbone: Backbone) -> list[Site]:
        return backbone.sites()

    def attach(self, backbone: Backbone) -> None:
        """Make both ladders and the projection back to the backbone's width."""
        backbone = with_encoder(backbone, NEEDS)
        stacks = narrow_stacks(backbone, self.params.reduction)
        self.encoder = Ladder(backbone, "encoder", stacks["encoder"], self.params)
        self.decoder = Ladder(backbone, "decoder", stacks["decoder"], self.params)
        self.up = nn.Linear(self.reduced_width(backbone), backbone.width)
        self._position_biases = [
            bias for stack in stacks.values() for bias in backbone.position_biases(stack)
        ]
        backbone.encoding = partial(self.encode, backbone)
        self._hooks = DecoderHooks(backbone, self.decoder, self.up)

    def encode(
        self, backbone: EncoderDecoder, text: Tensor, vision: Tensor, mask: Tensor
    ) -> Tensor:
        """States of the backbone, text only, and of the side encoder, side by side: (B, S, C + D).

        What enters is detached from the pictures, so that no gradient goes through the backbone.
        """
        length = self._hooks.text_length = text.shape[1]
        ladder, stack = self.encoder, backbone.stack("encoder")
        hidden = backbone.enter(text, vision)
        h, s = hidden[:, :length].detach(), ladder.begin(hidden)
        own = backbone.encoder_inputs(stack, h, length, mask[:, :length])
        side = backbone.encoder_inputs(ladder.stack, s, length, mask)
        for number, layer in enumerate(backbone.layers("encoder")):
            h = states(layer(h, **own))
            s = ladder.layer(number, s, h, side)
        h, s = backbone.leave(stack, h), backbone.leave(ladder.stack, s)
        h = functional.pad(h, (0, 0, 0, vision.shape[1]))  # (B, S, C)
        return torch.cat([h, s], dim=-1)

    def trained(self, backbone: Backbone, norms: bool) -> list[nn.Module | nn.Parameter]:
        """The side network; no gradient reaches the backbone's norms."""
        if norms:
            raise UsageError(
                "train.norms: lst sends no gradient into the backbone, so its norms cannot train. "
                "Set train.norms=false."
            )
        return super().trained(backbone, norms)

    def undecayed(self) -> list[nn.Parameter]:
        return self._position_biases

    def start(self, backbone: Backbone, batches: Iterable[Batch]) -> None:
        """Initialise the side layers from the backbone by pruning, if the card says so."""
        if self.params.initialisation == "pruned":
            backbone = with_encoder(backbone, NEEDS)
            examples = cast(Iterable[FeatureBatch], islice(batches, self.params.samples))
            importance = importances(backbone, examples)
            prune(backbone, importance, self.encoder.stack, self.decoder.stack)


def importances(backbone: EncoderDecoder, batches: Iterable[FeatureBatch]) -> dict[Tensor, Tensor]:
    """Sum squared gradients of the token embedding and the linear layers, without dropout."""
    weights: list[Tensor] = [backbone.token_embedding]
    for side in SIDES:
        modules = [m for group in layer_order(backbone, side, backbone.stack(side)) for m in group]
        weights += [module.weight for module in modules if isinstance(module, nn.Linear)]
    sums = [torch.zeros_like(weight) for weight in weights]
    was_training = backbone.training
    backbone.eval()
    for weight in weights:
        weight.requires_grad_(True)
    for batch in batches:
        logits = backbone.language(
            input_ids=batch.input_ids,
            attention_mask=batch.input_ids.ne(backbone.config.pad_token_id).long(),
            decoder_input_ids=backbone.shift(batch.target_ids),
            use_cache=False,
        ).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), batch.target_ids.flatten())
        for total, gradient in zip(sums, torch.autograd.grad(loss, weights), strict=True):
            total.addcmul_(gradient, gradient)
    for weight in weights:
        weight.requires_grad_(False)
    backbone.train(was_training)
    return dict(zip(weights, sums, strict=True))


@torch.no_grad()
def prune(
    backbone: EncoderDecoder, importance: dict[Tensor, Tensor], encoder: Any, decoder: Any
) -> None:
    """Fill narrow stacks with the rows and columns of the backbone's that pruning keeps."""
    kept = _top(importance[backbone.token_embedding].sum(dim=0), encoder.config.d_model)
    for side, narrow in zip(SIDES, (encoder, decoder), strict=True):
        wide = backbone.stack(side)
        groups = (layer_order(backbone, side, stack) for stack in (wide, narrow))
        for old, new in zip(*groups, strict=True):
            rows = kept  # of a norm
            if isinstance(old[0], nn.Linear):
                shape = old[0].out_features, len(kept)
                product = torch.ones(shape, dtype=torch.float64, device=kept.device)
                for linear in old:
                    product *= importance[linear.weight][:, kept]
                rows = _top(product.sum(dim=1), new[0].out_features)
            for module, copied in zip(old, new, strict=True):
                for name, parameter in module.named_parameters():
                    left = parameter[rows]
                    copied.get_parameter(name).copy_(left[:, kept] if left.dim() == 2 else left)
            kept = rows
        biases = backbone.position_biases(wide), backbone.position_biases(narrow)
        for own, bias in zip(*biases, strict=True):
            bias.copy_(own)


def _top(importance: Tensor, number: int) -> Tensor:
    """Return the indices of the largest, in ascending order; of equals the first."""
    return importance.argsort(descending=True, stable=True)[:number].sort().values


def layer_order(backbone: EncoderDecoder, side: Side, stack: nn.Module) -> list[list[Any]]:
    """List the linear layers and norms of a stack of that side in the order of the forward pass.

    Those in one group read the same input.
    """
    groups: list[tuple[str, ...]] = [(backbone.first_norm,)]
    for number in range(len(backbone.layers(side))):
        groups += [
            tuple(f"{backbone.layer_list}.{number}.{path}" for path in group)
            for sublayer in backbone.sublayers
            if sublayer.side == side
            for group in sublayer.order
        ]
    groups.append((backbone.last_norm,))
    modules = dict(stack.named_modules())
    present = [[modules[path] for path in group if path and path in modules] for group in groups]
    return [group for group in present if group]
