"""An encoder-decoder as a backbone: pictures and text through its encoder.

Shapes: B batch, L text tokens, S all encoder tokens, T target tokens, V vocabulary, C hidden size.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.modeling_outputs import BaseModelOutput

from vlbench.backbones.base import IGNORED, SIDES, Backbone, Batch, Kind, Side, Site, only_at
from vlbench.backbones.visual import VisualEmbedding, downsample
from vlbench.errors import UsageError

Encoding = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Text (B, P + L, C), vision (B, I N, C) and mask (B, S) -> states (B, S, any width)."""


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


class FeatureBatch(Protocol):
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


class InFront:
    """Hook of the encoder's input: the same prompts in front of every text."""

    def __init__(self, prompts: nn.Module) -> None:
        self.prompts = prompts

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> tuple[Tensor, Tensor]:
        """(B, L, C), (B, L) -> (B, length + L, C), (B, length + L)."""
        text, mask = output
        prompts = self.prompts().to(text.dtype).expand(text.shape[0], -1, -1)  # (B, length, C)
        is_read = mask.new_ones(prompts.shape[:2])
        return torch.cat([prompts, text], dim=1), torch.cat([is_read, mask], dim=1)


class EncoderDecoder(Backbone):
    """A visual embedding in front of a pretrained encoder-decoder of the transformers library.

    LST and VL-PET alone know more of it than `Backbone` promises.
    """

    visual: VisualEmbedding
    denominator = (
        "the adapted model with its visual embedding and added tokens, tied tensors once, "
        "without the image encoder"
    )
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
        self.language = language
        self.visual_tokens = visual_tokens
        self.encoder_input = EncoderInput()
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
    def width(self) -> int:
        return int(self.config.d_model)

    @property
    def positions(self) -> int | None:
        return getattr(self.config, "max_position_embeddings", None)

    @property
    @abstractmethod
    def answer_prefix(self) -> tuple[int, ...]:
        """Decoder input ids in front of an answer's first token."""

    @abstractmethod
    def stack(self, side: Side) -> nn.Module:
        """The pretrained encoder or decoder."""

    def layers(self, side: Side) -> nn.ModuleList:
        return cast(nn.ModuleList, self.stack(side).get_submodule(self.layer_list))

    @abstractmethod
    def set_dropout(self, rate: float) -> None:
        """Set dropout of hidden states, attention and activations, as the authors' `--dropout`."""

    def sites(self) -> list[Site]:
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
        return [
            module.bias
            for module in self.language.modules()
            if isinstance(module, nn.Linear | nn.LayerNorm) and module.bias is not None
        ]

    def linears_and_norms(self) -> dict[str, nn.Module]:
        """Those of the language model and of the visual embedding."""
        parts = nn.ModuleDict({"language": self.language, "visual": self.visual})
        kinds = nn.Linear | self.norm_type
        return {path: part for path, part in parts.named_modules() if isinstance(part, kinds)}

    def put_in_front(self, prompts: nn.Module, length: int) -> None:
        self.encoder_input.register_forward_hook(InFront(prompts))

    def example(self, task: str) -> Batch:
        """Two end tokens and a blank picture."""
        device = self.token_embedding.device
        ids = torch.full((1, 2), self.config.eos_token_id, device=device)
        shape = (1, 1, self.visual_tokens, self.visual.feature_width)
        features = torch.zeros(shape, device=device)
        return SimpleNamespace(task=task, input_ids=ids, features=features, target_ids=ids)

    def position_biases(self, stack: nn.Module) -> list[nn.Parameter]:
        """Return a stack's position biases; their shape does not depend on the width."""
        return []

    def undecayed(self) -> list[nn.Parameter]:
        """Pretrained parameters, beside biases, that the reference spares from weight decay."""
        return [bias for side in SIDES for bias in self.position_biases(self.stack(side))]

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

    def encode(self, batch: FeatureBatch) -> tuple[Tensor, Tensor]:
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

    def forward(self, batch: Any) -> Tensor:
        hidden, mask = self.encode(batch)
        return self.decode(hidden, mask, self.shift(batch.target_ids))

    def label_logits(self, batch: Any) -> Tensor:
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
    def generate(self, batch: Any, beams: int, max_length: int) -> list[list[int]]:
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
    def choice_logits(self, batch: Any, first_tokens: Sequence[int]) -> Tensor:
        """Logits (B, choices) of each choice's first token after one decoder step."""
        hidden, mask = self.encode(batch)
        prefix = mask.new_tensor(self.answer_prefix, dtype=torch.long).expand(mask.shape[0], -1)
        return self.decode(hidden, mask, prefix)[:, -1, list(first_tokens)]


def states(output: Any) -> Tensor:
    """A layer's hidden states, whatever it returns around them."""
    return cast(Tensor, output[0] if isinstance(output, tuple) else output)


def with_encoder(backbone: Backbone, need: str) -> EncoderDecoder:
    """The backbone where it has an encoder; else UsageError with a technique's `need` of one."""
    if not isinstance(backbone, EncoderDecoder):
        raise UsageError(f"{need}: {backbone.config.model_type} is a decoder alone.")
    return backbone
