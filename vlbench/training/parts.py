"""A batch computed in parts that fit into memory; their gradients add up to the batch's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from vlbench.data.batches import Batch
from vlbench.errors import is_out_of_memory

MaxBatch = int | Literal["auto"] | None


class Parts:
    """How many examples are computed at once: a number, all, or what turns out to fit."""

    def __init__(
        self, max_batch: MaxBatch = None, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.is_auto = max_batch == "auto"
        self.most = max_batch if isinstance(max_batch, int) else None
        self._say = say

    def of(self, batch: Batch) -> Iterator[Batch]:
        """The batch's examples in their order, as many at a time as there may be."""
        count = len(batch.ids)
        if self.most is None or count <= self.most:
            if count:
                yield batch
            return
        for start in range(0, count, self.most):
            yield batch.part(slice(start, start + self.most))

    def shrinks(self, error: BaseException, count: int) -> bool:
        """After this error with a batch of `count`: whether fewer at once are worth trying."""
        before = count if self.most is None else min(self.most, count)
        if not self.is_auto or before < 2 or not is_out_of_memory(error):
            return False
        self.most = before // 2
        self._say(
            f"out of memory with {before} examples at once: going on with {self.most}, "
            f"the batch stays {count}"
        )
        return True
