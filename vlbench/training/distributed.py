"""The processes of one run: sums of gradients, equality checks, a random stream for each.

Each has the whole model and takes its share of every batch; the sums of their gradients are those
of the batch. There is no DistributedDataParallel: it takes the mean over ranks, where a batch's
loss is a mean over examples or tokens, of which the ranks do not have equally many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import compress
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object, reduce, set_seed
from torch import Tensor, nn

from vlbench.errors import RunFailed
from vlbench.techniques.adapt import trained_state


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run; alone by default."""

    rank: int = 0
    count: int = 1

    @classmethod
    def of(cls, accelerator: Accelerator) -> Ranks:
        """Rank and count of an accelerator."""
        return cls(accelerator.process_index, accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this process writes, logs and decides."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """Slice that selects this rank's items."""
        return slice(self.rank, None, self.count)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over all ranks."""
        return tensor if self.count == 1 else cast(Tensor, reduce(tensor, reduction="sum"))

    def gather(self, value: Any) -> list[Any]:
        """Return the value of each rank, on every rank."""
        return [value] if self.count == 1 else cast(list[Any], gather_object([value]))

    def from_main(self, value: Any) -> Any:
        """Return the main rank's value, on every rank."""
        return value if self.count == 1 else broadcast_object_list([value])[0]

    def copy_from_main(self, model: nn.Module) -> None:
        """Overwrite the trained tensors by the main rank's."""
        if self.count > 1:
            for tensor in trained_state(model).values():
                tensor.copy_(self.from_main(tensor.cpu()))

    def wait(self) -> None:
        """Wait for all ranks."""
        self.from_main(None)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Run the context on the main rank, then on the others, which read its files."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    @torch.no_grad()
    def sum_gradients(
        self, parameters: Iterable[nn.Parameter], loss: Tensor, is_alike: bool
    ) -> Tensor:
        """Sum every gradient over all ranks, and `loss`, a scalar; return its sum.

        A gradient that no rank has stays None. `is_alike`: every rank has the same ones.
        """
        if self.count == 1:
            return loss
        used = [p for p in parameters if p.requires_grad]
        ranks_with_it = [float(p.grad is not None) for p in used]
        if not is_alike:
            ranks_with_it = self.sum(torch.tensor(ranks_with_it, device=loss.device)).tolist()
        for p in compress(used, ranks_with_it):
            p.grad = self.sum(torch.zeros_like(p) if p.grad is None else p.grad)
        return self.sum(loss)

    def check_equal(self, model: nn.Module, moment: str) -> None:
        """Raise RunFailed unless the trained tensors are bit-equal on every rank."""
        if self.count > 1:
            digest = sha256()
            for tensor in trained_state(model).values():
                digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().data)
            if len(set(self.gather(digest.digest()))) > 1:
                raise RunFailed(f"The trained tensors differ between the processes {moment}.")


ALONE = Ranks()


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of torch's generators; nothing else draws from a global one in training."""
    state = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Restore what `random_state` returned."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def seed_step(seed: int, rank: int, step: int) -> None:
    """Seed one step of a process that is not the main one: no checkpoint has to keep its stream."""
    (drawn,) = np.random.SeedSequence([seed, rank, step]).generate_state(1)
    set_seed(int(drawn))
