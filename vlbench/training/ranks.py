"""The processes that share a run, and the few things they do together.

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
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list, gather_object, reduce
from torch import Tensor, nn

from vlbench.errors import RunFailed
from vlbench.techniques.freezing import trained_state

BUCKET_ELEMENTS = 2**24
"""Gradients are summed so many numbers at a time: 64 MB."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run; without numbers it is alone."""

    rank: int = 0
    count: int = 1

    @classmethod
    def of(cls, accelerator: Accelerator) -> Ranks:
        """As accelerate has them."""
        return cls(accelerator.process_index, accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this one writes, logs and decides."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """Of whatever is shared: every so manyeth."""
        return slice(self.rank, None, self.count)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks."""
        if self.count == 1:
            return tensor
        found: Tensor = reduce(tensor, reduction="sum")
        return found

    def gather(self, value: Any) -> list[Any]:
        """The value of each rank, on every rank."""
        if self.count == 1:
            return [value]
        found: list[Any] = gather_object([value])
        return found

    def from_main(self, value: Any) -> Any:
        """The main rank's value, on every rank."""
        if self.count == 1:
            return value
        return broadcast_object_list([value])[0]

    def copy_from_main(self, model: nn.Module) -> None:
        """The trained tensors become the main rank's."""
        if self.count > 1:
            for tensor in trained_state(model).values():
                tensor.copy_(self.tensor_from_main(tensor))

    def tensor_from_main(self, tensor: Tensor) -> Tensor:
        """The main rank's tensor of this shape, on every rank."""
        found: Tensor = broadcast(tensor)
        return found

    def wait(self) -> None:
        """Until all ranks are here."""
        self.from_main(None)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The main rank does this, then the others: what it leaves on the disk they find there."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    @torch.no_grad()
    def sum_gradients(
        self, parameters: Iterable[nn.Parameter], loss: Tensor, is_alike: bool
    ) -> Tensor:
        """Every gradient becomes its sum over all ranks; one that no rank has stays None.

        `loss`, a scalar, goes with them: its sum is returned. Ranks ask each other who has which
        gradients unless it `is_alike`: the same ones on each.
        """
        if self.count == 1:
            return loss
        used = [p for p in parameters if p.requires_grad]
        ranks_with_it = [float(p.grad is not None) for p in used]
        if not is_alike:
            ranks_with_it = self.sum(torch.tensor(ranks_with_it, device=loss.device)).tolist()
        one_more = nn.Parameter(loss.detach())
        one_more.grad = loss.detach()
        for bucket in _buckets([one_more, *compress(used, ranks_with_it)]):
            flat = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            total = self.sum(torch.cat([each.flatten() for each in flat]))
            pieces = torch.split_with_sizes(total, [p.numel() for p in bucket])
            for p, piece in zip(bucket, pieces, strict=True):
                p.grad = piece.view_as(p)
        return one_more.grad

    def check_equal(self, model: nn.Module, moment: str) -> None:
        """RunFailed unless the trained tensors are the same on every rank, bit for bit."""
        if self.count > 1 and len(set(self.gather(_checksum(model)))) > 1:
            raise RunFailed(f"The trained tensors differ between the processes {moment}.")


ALONE = Ranks()


def _buckets(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """The parameters in their order, in lists of one type and a limited size."""
    bucket: list[nn.Parameter] = []
    size = 0
    for p in parameters:
        if bucket and (p.dtype != bucket[0].dtype or size + p.numel() > BUCKET_ELEMENTS):
            yield bucket
            bucket, size = [], 0
        bucket.append(p)
        size += p.numel()
    if bucket:
        yield bucket


def _checksum(model: nn.Module) -> str:
    digest = sha256()
    for name, tensor in trained_state(model).items():
        digest.update(name.encode())
        digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
