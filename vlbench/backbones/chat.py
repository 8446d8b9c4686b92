"""A chat model as a backbone: a decoder that reads pictures amid the text.

Its own forward pass stays the library's. Prompts of prompt tuning are virtual tokens, ids behind
the vocabulary: positions, masks, token types and caches are all made from ids, so they fit.

Shapes: B batch, L tokens, T answer tokens, K labels, V vocabulary, C hidden size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationConfig

from vlbench.backbones.base import (
    IGNORED,
    Backbone,
    Batch,
    Kind,
    OutputHook,
    Side,
    Site,
    only_at,
)
from vlbench.backbones.chat_parts import find_parts, find_sites
from vlbench.backbones.chat_rows import PER_TOKEN, Conversation, Row, target_ids
from vlbench.errors import UsageError

ERRORS = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""What the library's processors and models raise of a question that they cannot read."""
PADDED, PADDED_MIXED = 1e-3, 0.2
"""Largest part of the logits by which padding may change them, in fp32 and in bf16."""


class VirtualTokens:
    """Hooks of the token embedding: ids from `first` on are prompts, not rows of the table."""

    def __init__(self, prompts: nn.Module, first: int) -> None:
        self.prompts, self.first = prompts, first
        self.ids: Tensor | None = None

    def enter(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """Pre-hook: look up row 0 in a prompt's place."""
        (self.ids,) = inputs
        return (self.ids.masked_fill(self.ids >= self.first, 0),)

    def leave(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        """Hook: (B, L, C) with the prompts where they belong."""
        ids, self.ids = cast(Tensor, self.ids), None
        prompts = self.prompts().to(output.dtype)  # (length, C)
        rows = (ids - self.first).clamp(0, len(prompts) - 1)
        return torch.where((ids >= self.first)[..., None], prompts[rows], output)


class Chat(Backbone):
    """A decoder of the transformers library with its picture tower, which stays frozen.

    `language` is the whole model, `visual` the projector between the two.
    """

    visual: nn.ParameterList
    visual_name = "projector"
    trains_visual = False  # it is pretrained
    denominator = (
        "the adapted model with its projector, tied tensors once, without the picture tower"
    )

    def __init__(self, language: Any, processor: Any) -> None:
        super().__init__()
        self.language = language
        self.conversation = Conversation(processor)
        self.parts = find_parts(language)
        self.visual = nn.ParameterList(self.parts.projector)
        self.prompt_length = 0
        self.is_mixed = any(p.dtype != torch.float32 for p in language.parameters())
        """Whether the weights are of bf16 or 4 bits, so that it computes in bf16."""
        if self.is_mixed:  # where it trains, the table is of fp32, and pictures go amid its rows
            language.get_input_embeddings().register_forward_hook(OutputHook(Tensor.bfloat16))
        tokenizer = self.conversation.tokenizer
        # without what a checkpoint brings along: sampling, penalties
        language.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=self._end_ids(),
            pad_token_id=self.conversation.padding,
        )

    def _end_ids(self) -> list[int]:
        """Every token that ends an answer."""
        text = self.config.get_text_config(decoder=True)
        parts = (self.config, text, self.language.generation_config)
        own = [getattr(part, "eos_token_id", None) for part in parts]
        own += [self.conversation.tokenizer.eos_token_id, self.conversation.answer("")[-1]]
        ids: set[int] = set()
        for value in own:
            ids |= {*(value if isinstance(value, list) else [value])} - {None}
        return sorted(ids)

    @property
    def width(self) -> int:
        return self.token_embedding.shape[1]

    @property
    def injectable(self) -> nn.Module:
        """The decoder's layers alone: a tower may have modules of the same names."""
        return self.parts.layers

    def layers(self, side: Side) -> nn.ModuleList:
        return self.parts.layers if side == "decoder" else nn.ModuleList()

    @cached_property
    def _sites(self) -> list[Site]:
        return find_sites(self.config.model_type, self.parts, self.width)

    def sites(self) -> list[Site]:
        """Those of the decoder's layers; UsageError where they are not made as expected."""
        return [self._text_input, *self._sites]

    @property
    def _text_input(self) -> Site:
        table = self.language.get_input_embeddings()
        kind: Kind = "encoder_input"
        return Site(kind, kind, "decoder", 0, table, table, kind, self.width, self.width)

    def norms(self) -> list[nn.Module]:
        """The decoder's, those of queries and keys included."""
        return [
            module
            for module in self.parts.stack.modules()
            if type(module).__name__.endswith("Norm")
            and isinstance(weight := getattr(module, "weight", None), nn.Parameter)
            and weight.dim() == 1
        ]

    def biases(self) -> list[nn.Parameter]:
        """The decoder's."""
        return [
            module.bias
            for module in self.parts.stack.modules()
            if isinstance(module, nn.Linear | nn.LayerNorm) and module.bias is not None
        ]

    def linears_and_norms(self) -> dict[str, nn.Module]:
        """Those of the decoder."""
        norms = set(self.norms())
        return {
            path: module
            for path, module in self.parts.stack.named_modules()
            if isinstance(module, nn.Linear) or module in norms
        }

    def tuned_in_full(self) -> list[nn.Module | nn.Parameter]:
        """Decoder, output layer and projector: not the tower."""
        return [self.parts.stack, self.language.get_output_embeddings(), self.visual]

    def counted(self) -> Iterable[nn.Parameter]:
        tower = {*self.parts.tower.parameters()} - {*self.visual.parameters()}
        return [parameter for parameter in self.parameters() if parameter not in tower]

    def initialise(self, module: nn.Module) -> None:
        """N(0, initializer_range^2) weights and zero biases of linear layers and embeddings."""
        std = self.config.get_text_config(decoder=True).initializer_range
        for part in module.modules():
            if isinstance(part, nn.Linear | nn.Embedding):
                nn.init.normal_(part.weight, std=std)
            if isinstance(part, nn.Linear) and part.bias is not None:
                nn.init.zeros_(part.bias)

    def set_dropout(self, rate: float) -> None:
        """Set that of the decoder's attention, the only one that decoders have."""
        for module in self.parts.stack.modules():
            if isinstance(getattr(module, "attention_dropout", None), float):
                module.attention_dropout = rate  # type: ignore[assignment]

    def checkpoint_activations(self) -> None:
        """Of the decoder alone: of the whole model it would send gradients through the tower."""
        stack: Any = self.parts.stack
        stack.activation_checkpointing_enable()

    def put_in_front(self, prompts: nn.Module, length: int) -> None:
        """Put virtual tokens there, behind the first token where that is <bos>."""
        self.prompt_length = length
        table = self.language.get_input_embeddings()
        hooks = VirtualTokens(prompts, len(self.token_embedding))
        table.register_forward_pre_hook(hooks.enter)
        table.register_forward_hook(hooks.leave)

    def example(self, task: str) -> Batch:
        """A word about a grey picture, with an answer of a word."""
        device, row = self.token_embedding.device, self._example
        tensors, labels = self.conversation.collate([row]).to(device)
        targets = target_ids([row]).to(device)
        return SimpleNamespace(task=task, tensors=tensors, labels=labels, target_ids=targets)

    @cached_property
    def _example(self) -> Row:
        picture = Image.new("RGB", (64, 64), "grey")
        return self.conversation.row("what", [picture], self.conversation.answer("yes"))

    def check_processor(self) -> list[Row]:
        """Return two questions of unlike lengths about a picture, as the processor spells them.

        UsageError where it does not read pictures amid the text: where it takes no list of them,
        returns more for a longer text, or writes placeholders itself.
        """
        talk, picture = self.conversation, Image.new("RGB", (64, 48), "grey")
        with self._read("its processor does not read a question about a picture"):
            rows = [talk.row(text, [picture]) for text in ("what", "what is it " * 4)]
            twice = rows[0] if talk.template else talk.row("what", [picture, picture])
        short, long = ({name: tensor.shape for name, tensor in row.pixels.items()} for row in rows)
        if growing := [name for name in short if short[name] != long.get(name)]:
            self._refuse(f"its pictures are not read amid the text, with which {growing[0]} grows")
        image = getattr(self.config, "image_token_id", -1)
        one, two = (int(row.tokens["input_ids"].eq(image).sum()) for row in (rows[0], twice))
        if not talk.template and two != 2 * one:
            self._refuse(
                "its processor writes placeholders of its own in front of those in the text: "
                f"{one} for a picture and {two} for two"
            )
        return rows

    def _refuse(self, reason: str) -> NoReturn:
        raise UsageError(f"'{self.config.model_type}' cannot be a backbone: {reason}.")

    @contextmanager
    def _read(self, refusal: str) -> Iterator[None]:
        """Raise what the library raises as a UsageError."""
        try:
            yield
        except ERRORS as error:
            reason = " ".join(str(error).split())[:200]
            self._refuse(f"{refusal} ({type(error).__name__}: {reason})")

    @torch.no_grad()
    def check_padding(self, rows: Sequence[Row]) -> None:
        """Raise UsageError where the first row's answer depends on the longer one beside it."""
        with self._read("it does not answer a question about a picture"):
            padded, alone = (
                self.choice_logits(
                    SimpleNamespace(task="", **self.conversation.collate(some)._asdict()),
                    range(len(self.token_embedding)),
                )[0]
                for some in (rows, rows[:1])
            )
        near = PADDED_MIXED if self.is_mixed else PADDED
        if not (padded - alone).norm() <= near * alone.norm():
            raise UsageError(
                f"'{self.config.model_type}' answers differently when a longer question is in "
                "the batch: it does not mask left padding, and cannot be a backbone."
            )

    def _prompted(
        self, tensors: dict[str, Tensor], labels: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Insert virtual tokens at each row's first token that is attended to, behind <bos>."""
        length = self.prompt_length
        if not length:
            return tensors, labels
        ids = tensors["input_ids"]  # (B, L)
        at = tensors["attention_mask"].argmax(dim=1, keepdim=True)  # (B, 1)
        bos = self.conversation.tokenizer.bos_token_id
        at = at + ids.gather(1, at).eq(-1 if bos is None else bos)
        column = torch.arange(ids.shape[1] + length, device=ids.device)[None]  # (1, L + length)
        is_virtual = (column >= at) & (column < at + length)
        source = torch.where(column < at, column, (column - length).clamp(min=0))

        def widened(values: Tensor, filler: Any) -> Tensor:
            return torch.where(is_virtual, filler, values.gather(1, source))

        fillers = {"input_ids": len(self.token_embedding) + column - at, "attention_mask": 1}
        changed = {
            name: widened(values, fillers.get(name, 0)) if name in PER_TOKEN else values
            for name, values in tensors.items()
        }
        return changed, widened(labels, IGNORED)

    def forward(self, batch: Any) -> Tensor:
        """Logits (B, T, V) of the answers' tokens, zeros where they are padded."""
        rows = self.label_logits(batch)  # (K, V)
        is_label = batch.target_ids != IGNORED  # (B, T)
        logits = rows.new_zeros(*is_label.shape, rows.shape[-1])
        return logits.masked_scatter(is_label[..., None], rows)

    def label_logits(self, batch: Any) -> Tensor:
        self.current_task.enter(batch.task)
        tensors, labels = self._prompted(batch.tensors, batch.labels)
        is_next = functional.pad(labels[:, 1:] != IGNORED, (0, 1))  # state t tells token t + 1
        with self._cast(), only_at(is_next, self.language.get_output_embeddings()):
            return cast(Tensor, self.language(**tensors, use_cache=False).logits)

    def _cast(self) -> AbstractContextManager[Any]:
        """Let tensors of several number formats meet."""
        device = self.token_embedding.device.type
        return torch.autocast(device, torch.bfloat16) if self.is_mixed else nullcontext()

    @torch.no_grad()
    def generate(self, batch: Any, beams: int, max_length: int) -> list[list[int]]:
        """The new tokens of each answer; `max_length` counts one in front of them."""
        self.current_task.enter(batch.task)
        tensors, _ = self._prompted(batch.tensors, batch.labels)
        with self._cast():
            ids = self.language.generate(
                **tensors,
                max_new_tokens=max_length - 1,
                num_beams=beams,
                do_sample=False,
                early_stopping=False,
                length_penalty=1.0,
            )
        return cast(list[list[int]], ids[:, tensors["input_ids"].shape[1] :].tolist())

    @torch.no_grad()
    def choice_logits(self, batch: Any, first_tokens: Sequence[int]) -> Tensor:
        self.current_task.enter(batch.task)
        tensors, _ = self._prompted(batch.tensors, batch.labels)
        with self._cast():
            logits = self.language(**tensors, use_cache=False, logits_to_keep=1).logits  # (B, 1, V)
        return cast(Tensor, logits[:, -1, list(first_tokens)])
