"""What techniques and training need of any backbone, and the sites that techniques change.

Techniques change what flows at *sites*: per layer and side the outputs of self-attention,
cross-attention, feed-forward, and of each attention's query, key and value projections.

Shapes: B batch, T target tokens, V vocabulary, C hidden size; K targets are labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, cast

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Kind = Literal[
    "self_attention",
    "cross_attention",
    "feed_forward",
    "query",
    "key",
    "value",
    "output",
    "feed_forward_in",
    "feed_forward_out",
    "encoder_input",
]
Side = Literal["encoder", "decoder"]
SIDES: tuple[Side, ...] = ("encoder", "decoder")
"""In the order of the forward pass."""
SUBLAYERS: frozenset[Kind] = frozenset({"self_attention", "cross_attention", "feed_forward"})
"""Kinds whose output is a sub-layer's output: (B, T, C), before dropout and the residual sum."""
PROJECTIONS: frozenset[Kind] = frozenset({"query", "key", "value"})
"""Kinds whose output is a projection's: (B, T, C_out), before it is split into heads."""
LINEARS: frozenset[Kind] = PROJECTIONS | {"output", "feed_forward_in", "feed_forward_out"}
"""Kinds whose module is a linear layer; those beside the projections a decoder alone has."""
IGNORED = -100
"""The target id where there is nothing to predict."""


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


class CurrentTask:
    """The task of the current batch and the number of batches so far; techniques read them."""

    name = ""
    batches = 0

    def enter(self, task: str) -> None:
        """Begin a batch of `task`."""
        self.name = task
        self.batches += 1


class Batch(Protocol):
    """What training knows of a batch: its task, and targets (B, T) with -100 as padding."""

    @property
    def task(self) -> str: ...
    @property
    def target_ids(self) -> Tensor: ...


class Backbone(nn.Module, ABC):
    """A pretrained model that answers texts about pictures."""

    visual: nn.Module
    """What turns pictures into the language model's states: the projector, visual embedding."""
    trains_visual: ClassVar[bool] = True
    """Whether it trains where neither card nor technique says."""
    language: Any
    """The pretrained model of the transformers library."""
    visual_name: ClassVar[str] = "visual embedding"
    denominator: ClassVar[str]
    """What the percentage of trained parameters is of."""

    def __init__(self) -> None:
        super().__init__()
        self.current_task = CurrentTask()

    @property
    def config(self) -> Any:
        """The language model's own configuration."""
        return self.language.config

    @property
    @abstractmethod
    def width(self) -> int:
        """Hidden size."""

    @property
    def token_embedding(self) -> nn.Parameter:
        """The token embedding (V, C); the output layer is tied with it or has its own."""
        return cast(nn.Parameter, self.language.get_input_embeddings().weight)

    @property
    def positions(self) -> int | None:
        """Tokens of text that there are positions for; None: any number."""
        return None

    @property
    def injectable(self) -> nn.Module:
        """The module in which another library may put layers of its own."""
        return cast(nn.Module, self.language)

    @abstractmethod
    def layers(self, side: Side) -> nn.ModuleList:
        """The encoder's or the decoder's layers."""

    @abstractmethod
    def sites(self) -> list[Site]:
        """Return every attachment point, encoder first, in the order of the forward pass."""

    @abstractmethod
    def norms(self) -> list[nn.Module]:
        """The pretrained norms, without those of `visual`."""

    @abstractmethod
    def biases(self) -> list[nn.Parameter]:
        """The pretrained biases of linear layers and norms that BitFit trains."""

    @abstractmethod
    def linears_and_norms(self) -> dict[str, nn.Module]:
        """Path -> module, of those that have a bias or could have one."""

    def tuned_in_full(self) -> list[nn.Module | nn.Parameter]:
        """What full fine-tuning trains."""
        return [self]

    def counted(self) -> Iterable[nn.Parameter]:
        """The parameters that the percentage of trained ones is of."""
        return self.parameters()

    def undecayed(self) -> list[nn.Parameter]:
        """Pretrained parameters, beside biases, that are spared weight decay."""
        return []

    def initialise(self, module: nn.Module) -> None:
        """Treat new modules as the reference's model-wide pass does; here: as torch made them."""
        return None

    @abstractmethod
    def set_dropout(self, rate: float) -> None:
        """Set the dropout that the pretrained layers have."""

    def checkpoint_activations(self) -> None:
        """Keep only each layer's input; the backward pass computes the rest once more."""
        self.language.activation_checkpointing_enable()

    @abstractmethod
    def put_in_front(self, prompts: nn.Module, length: int) -> None:
        """Put the vectors (length, C) that `prompts()` returns in front of every text."""

    @abstractmethod
    def example(self, task: str) -> Batch:
        """A made-up example of two targets, on the backbone's device; on the meta device too."""

    @abstractmethod
    def forward(self, batch: Any) -> Tensor:
        """Logits (B, T, V) of the targets, each seen from the ones before it."""

    @abstractmethod
    def label_logits(self, batch: Any) -> Tensor:
        """Logits (K, V) at the K labels, in order: of what is padded none is computed."""

    @abstractmethod
    def generate(self, batch: Any, beams: int, max_length: int) -> list[list[int]]:
        """Token ids of each answer, special tokens included; the length counts a start token."""

    @abstractmethod
    def choice_logits(self, batch: Any, first_tokens: Sequence[int]) -> Tensor:
        """Logits (B, choices) of each choice's first token."""


@contextmanager
def only_at(mask: Tensor, output: nn.Module) -> Iterator[None]:
    """Let `output` read its states (B, T, C) only where mask (B, T) is True: (K, C)."""
    handle = output.register_forward_pre_hook(lambda _, inputs: inputs[0][mask], prepend=True)
    try:
        yield
    finally:
        handle.remove()
