"""What every backbone does: pictures and text through one encoder, answers from one decoder.

Techniques change what flows at *sites*: per layer and side the outputs of self-attention,
cross-attention, feed-forward, and of each attention's query, key and value projections.

Shapes: B batch, L text tokens, S all encoder tokens, T target tokens, V vocabulary, C hidden size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.modeling_outputs import BaseModelOutput

from vlbench.backbones.visual import VisualEmbedding, downsample

Kind = Literal[
    "self_attention", "cross_attention", "feed_forward", "query", "key", "value", "encoder_input"
]
Side = Literal["encoder", "decoder"]
SIDES: tuple[Side, ...] = ("encoder", "decoder")
"""In the order of the forward pass."""
SUBLAYERS: frozenset[Kind] = frozenset({"self_attention", "cross_attention", "feed_forward"})
"""Kinds whose output is a sub-layer's output: (B, T, C), before dropout and the residual sum."""
PROJECTIONS: frozenset[Kind] = frozenset({"query", "key", "value"})
"""Kinds whose output is a projection's: (B, T, C_out), before it is split into heads."""
IGNORED = -100
"""The target id where there is nothing to predict."""

Encoding = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Text (B, P + L, C), vision (B, I N, C) and mask (B, S) -> states (B, S, any width)."""


class Site(NamedTuple):
    """One attachment point; its name has no dots, so it can name a module."""

    name: str
    kind: Kind
    side: Side
    layer: int
    module: nn.Module
    """The module whose output is the site."""
    entry: nn.Module
    """The module whose first input is what enters the site: the residual stream of a sub-layer
    before any norm, the input of a projection."""
    sublayer: Kind
    """The sub-layer it belongs to: for a projection its attention, else its own kind."""
    width_in: int
    width: int
    """Width of the output."""

    def on_output(self, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
        """Replace the site's output by `change(output)`."""
        return self.module.register_forward_hook(OutputHook(change))

    def on_passage(self, change: Callable[[Tensor, Tensor], Tensor]) -> list[RemovableHandle]:
        """Forward hook with the input: replace the output by `change(entered, output)`."""
        hook = OutputHook(change)
        return [
            self.entry.register_forward_pre_hook(hook.keep_input, with_kwargs=True),
            self.module.register_forward_hook(hook),
        ]


class OutputHook:
    """Changes a module's output, of a tuple the first; with the input where it keeps one.

    An object and no closure, so a copied model's hooks are its own.
    """

    def __init__(self, change: Callable[..., Tensor]) -> None:
        self.change = change
        self.entered: list[Tensor] = []

    def keep_input(self, module: nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        self.entered = [inputs[0] if inputs else next(iter(named.values()))]

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        entered, self.entered = self.entered, []
        if isinstance(output, tuple):
            return (self.change(*entered, output[0]), *output[1:])
        return self.change(*entered, output)


class EncoderInput(nn.Module):
    """The text's embeddings and mask as they enter the encoder; hooks may lengthen them."""

    def forward(self, embeddings: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, C), (B, L) -> the same."""
        return embeddings, mask


class BeamCache(EncoderDecoderCache):
    """Keys and values while answering: those of the encoder's states are equal for all beams."""

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Move the written tokens' keys and values alone to the beams that go on."""
        self.self_attention_cache.reorder_cache(beam_idx)


class CurrentTask:
    """The task of the current batch and the number of batches so far; techniques read them."""

    name = ""
    batches = 0

    def enter(self, task: str) -> None:
        """Begin a batch of `task`."""
        self.name = task
        self.batches += 1


class SublayerSpec(NamedTuple):
    """A sub-layer, and paths within a layer: its output, and what the residual stream enters.

    `order`: linear layers and norm as the forward pass takes them, in one tuple those that read the
    same input.
    """

    side: Side
    kind: Kind
    path: str
    entry: str
    projections: dict[Kind, str]
    order: tuple[tuple[str, ...], ...]


class Batch(Protocol):
    """What a backbone reads: (B, L), (B, images, tokens, F), (B, T) with -100 as padding.

    A batch may also have `boxes` (B, images, tokens, 4), else zeros, and `inputs` (B,): each
    example's row of ids and features, which then have fewer than B.
    """

    @property
    def task(self) -> str: ...
    @property
    def input_ids(self) -> Tensor: ...
    @property
    def features(self) -> Tensor: ...
    @property
    def target_ids(self) -> Tensor: ...


class Backbone(nn.Module, ABC):
    """A visual embedding in front of a pretrained encoder-decoder of the transformers library.

    Techniques and training know `current_task`, `language`, `visual`, `width`, `token_embedding`,
    `sites`, `layers`, `norms`, `biases`, `undecayed`, `initialise`, `set_dropout`, `forward`,
    `label_logits`, `generate` and `choice_logits`; prompts and LST alone the encoder's parts.
    """

    sublayers: ClassVar[tuple[SublayerSpec, ...]]
    """The sub-layers of each layer of a side, from which `sites` follow."""
    norm_type: ClassVar[type[nn.Module]]
    widths: ClassVar[tuple[str, ...]]
    """Keys of the configuration that narrower stacks divide."""
    embeddings: ClassVar[tuple[str, ...]]
    layer_list: ClassVar[str]
    """Names in a stack, as are the norms of what enters the first and leaves the last layer."""
    first_norm: ClassVar[str] = ""
    last_norm: ClassVar[str] = ""

    def __init__(self, visual: VisualEmbedding, language: Any, visual_tokens: int) -> None:
        super().__init__()
        self.visual = visual
        self.language: Any = language
        self.visual_tokens = visual_tokens
        self.encoder_input = EncoderInput()
        self.current_task = CurrentTask()
        self.encoding: Encoding | None = None
        """What a technique puts in the place of `encode_joint`; it then also reads the states."""
        for module in language.modules():
            if isinstance(module, nn.Embedding):
                module.padding_idx = None  # the resized table has none: its pad row learns too
        config = language.config
        if not config.tie_word_embeddings:  # the output layer alone is apart
            language.set_input_embeddings(language.get_input_embeddings())
        # without what a checkpoint brings along: blocked n-grams, forced tokens
        language.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            bos_token_id=getattr(config, "bos_token_id", None),
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
            decoder_start_token_id=config.decoder_start_token_id,
        )

    @property
    def config(self) -> Any:
        """The language model's own configuration."""
        return self.language.config

    @property
    def width(self) -> int:
        """Hidden size."""
        return int(self.config.d_model)

    @property
    def token_embedding(self) -> nn.Parameter:
        """The token embedding (V, C); the output layer is tied with it or has its own."""
        return cast(nn.Parameter, self.language.get_input_embeddings().weight)

    @property
    @abstractmethod
    def answer_prefix(self) -> tuple[int, ...]:
        """Decoder input ids in front of an answer's first token."""

    @abstractmethod
    def stack(self, side: Side) -> nn.Module:
        """The pretrained encoder or decoder."""

    def layers(self, side: Side) -> nn.ModuleList:
        """The encoder's or the decoder's layers."""
        return cast(nn.ModuleList, self.stack(side).get_submodule(self.layer_list))

    @abstractmethod
    def set_dropout(self, rate: float) -> None:
        """Set dropout of hidden states, attention and activations, as the authors' `--dropout`."""

    def sites(self) -> list[Site]:
        """Return every attachment point, encoder first, in the order of the forward pass."""
        start, width = self.encoder_input, self.width
        kind: Kind = "encoder_input"
        sites = [Site(kind, kind, "encoder", 0, start, start, kind, width, width)]
        for side in SIDES:
            specs = [spec for spec in self.sublayers if spec.side == side]
            for i, layer in enumerate(self.layers(side)):
                for spec in specs:
                    name = f"{side}_{i}_{spec.kind}"
                    module, entry = layer.get_submodule(spec.path), layer.get_submodule(spec.entry)
                    for kind, path in spec.projections.items():
                        linear: Any = module.get_submodule(path)
                        shape = linear.in_features, linear.out_features
                        of = f"{name}_{kind}"
                        sites.append(Site(of, kind, side, i, linear, linear, spec.kind, *shape))
                    sites.append(
                        Site(name, spec.kind, side, i, module, entry, spec.kind, width, width)
                    )
        return sites

    def norms(self, side: Side | None = None) -> list[nn.Module]:
        """The pretrained norms, of one side or all; the visual embedding's are not among them."""
        part = self.language if side is None else self.stack(side)
        return [module for module in part.modules() if isinstance(module, self.norm_type)]

    def biases(self) -> list[nn.Parameter]:
        """The pretrained model's biases: those of its linear layers and of its norms."""
        return [
            module.bias
            for module in self.language.modules()
            if isinstance(module, nn.Linear | nn.LayerNorm) and module.bias is not None
        ]

    def position_biases(self, stack: nn.Module) -> list[nn.Parameter]:
        """Return a stack's position biases; their shape does not depend on the width."""
        return []

    def undecayed(self) -> list[nn.Parameter]:
        """Pretrained parameters, beside biases, that the reference spares from weight decay."""
        return [bias for side in SIDES for bias in self.position_biases(self.stack(side))]

    def initialise(self, module: nn.Module) -> None:
        """Treat new modules as the reference's model-wide pass does; here: as torch made them."""
        return None

    @abstractmethod
    def embed_text(self, input_ids: Tensor) -> Tensor:
        """(B, L) -> (B, L, C), as text enters the encoder before any norm."""

    @abstractmethod
    def enter(self, text: Tensor, vision: Tensor) -> Tensor:
        """Text (B, P + L, C) and vision (B, I N, C) -> (B, S, C), as the first layer reads them."""

    def encoder_inputs(self, stack: Any, hidden: Tensor, text: int, mask: Tensor) -> dict[str, Any]:
        """What layers of an encoder stack read beside states (B, S, any width), `text` of text."""
        of = {"config": stack.config, "inputs_embeds": hidden}
        return {"attention_mask": create_bidirectional_mask(**of, attention_mask=mask)}

    def decoder_inputs(
        self, stack: Any, hidden: Tensor, encoded: Tensor, mask: Tensor, cache: Any
    ) -> dict[str, Any]:
        """What layers of a decoder stack read beside states (B, T, any width)."""
        past = None if cache is None else cache.self_attention_cache
        of = {"config": stack.config, "inputs_embeds": hidden}
        return {
            "attention_mask": create_causal_mask(**of, attention_mask=None, past_key_values=past),
            "encoder_hidden_states": encoded,
            "encoder_attention_mask": create_bidirectional_mask(
                **of, attention_mask=mask, encoder_hidden_states=encoded
            ),
            "past_key_values": cache,
        }

    def leave(self, stack: Any, hidden: Tensor) -> Tensor:
        """The last layer's states as they leave a stack."""
        return hidden

    def encode_joint(self, text: Tensor, vision: Tensor, mask: Tensor) -> Tensor:
        """Text (B, P + L, C) and vision (B, I N, C) through the encoder, mask (B, S) bool."""
        stack = self.stack("encoder")
        hidden = self.enter(text, vision)
        beside = self.encoder_inputs(stack, hidden, text.shape[1], mask)
        for layer in self.layers("encoder"):
            hidden = states(layer(hidden, **beside))
        return self.leave(stack, hidden)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """States (B, S, C) of [prompts, text, vision] and their mask (B, S), True where read."""
        self.current_task.enter(batch.task)
        is_text = batch.input_ids.ne(self.config.pad_token_id)
        text, is_text = self.encoder_input(self.embed_text(batch.input_ids), is_text)
        boxes: Tensor | None = getattr(batch, "boxes", None)
        if boxes is not None:
            boxes = boxes[:, :, : self.visual_tokens]
        features = downsample(batch.features.to(self.token_embedding.dtype), self.visual_tokens)
        vision = self.visual(features, self.token_embedding, boxes)
        mask = torch.cat([is_text, is_text.new_ones(vision.shape[:2])], dim=1)
        hidden = (self.encoding or self.encode_joint)(text, vision, mask)
        inputs: Tensor | None = getattr(batch, "inputs", None)
        return (hidden, mask) if inputs is None else (hidden[inputs], mask[inputs])

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, T, V) of the targets, each seen from the ones before it."""
        hidden, mask = self.encode(batch)
        return self.decode(hidden, mask, self.shift(batch.target_ids))

    def label_logits(self, batch: Batch) -> Tensor:
        """Logits (K, V) at the K labels, in order: of what is padded none is computed."""
        hidden, mask = self.encode(batch)
        with only_at(batch.target_ids != IGNORED, self.language.get_output_embeddings()):
            return self.decode(hidden, mask, self.shift(batch.target_ids))

    def decode(self, hidden: Tensor, mask: Tensor, decoder_ids: Tensor) -> Tensor:
        """(B, S, C), (B, S), (B, T) -> logits (B, T, V)."""
        output = self.language(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
            attention_mask=mask.long(),
            decoder_input_ids=decoder_ids,
            use_cache=False,
        )
        return cast(Tensor, output.logits)

    def shift(self, target_ids: Tensor) -> Tensor:
        """Decoder input of the targets: start token in front, last one off, -100 as padding."""
        start = target_ids.new_full((target_ids.shape[0], 1), self.config.decoder_start_token_id)
        shifted = torch.cat([start, target_ids[:, :-1]], dim=1)
        return shifted.masked_fill(shifted == IGNORED, self.config.pad_token_id)

    @torch.no_grad()
    def generate(self, batch: Batch, beams: int, max_length: int) -> list[list[int]]:
        """Token ids of each answer, special tokens included; the length counts the start token."""
        hidden, mask = self.encode(batch)
        settings = self.generation_settings(beams)
        if beams > 1 and self.language.generation_config.use_cache is not False:
            caches = (DynamicCache(config=self.config) for _ in range(2))
            settings["past_key_values"] = BeamCache(*caches)
        ids = self.language.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
            attention_mask=mask.long(),
            max_length=max_length,
            num_beams=beams,
            do_sample=False,
            early_stopping=False,
            length_penalty=1.0,
            **settings,
        )
        return cast(list[list[int]], ids.tolist())

    def generation_settings(self, beams: int) -> dict[str, Any]:
        """Settings of generation that only this kind of backbone has."""
        return {}

    @torch.no_grad()
    def choice_logits(self, batch: Batch, first_tokens: Sequence[int]) -> Tensor:
        """Logits (B, choices) of each choice's first token after one decoder step."""
        hidden, mask = self.encode(batch)
        prefix = mask.new_tensor(self.answer_prefix, dtype=torch.long).expand(mask.shape[0], -1)
        return self.decode(hidden, mask, prefix)[:, -1, list(first_tokens)]


@contextmanager
def only_at(mask: Tensor, output: nn.Module) -> Iterator[None]:
    """Let `output` read its states (B, T, C) only where mask (B, T) is True: (K, C)."""
    handle = output.register_forward_pre_hook(lambda _, inputs: inputs[0][mask], prepend=True)
    try:
        yield
    finally:
        handle.remove()


def states(output: Any) -> Tensor:
    """A layer's hidden states, whatever it returns around them."""
    return cast(Tensor, output[0] if isinstance(output, tuple) else output)
