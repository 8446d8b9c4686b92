"""A narrow network out of a wide one: structured pruning by squared gradients (LST, section 3.3).

The importance of a weight is its squared gradient, summed over training examples, one by one, of
the backbone's own loss: mean cross entropy of the target tokens, text alone as input. Pruning walks
through the network and keeps, of each layer, the rows of largest importance; the next layer loses
the columns that belong to the rows left out. Query, key and value keep the same rows: those of the
largest product; so do gate and value of a gated feed-forward, which the authors do not have. Heads
are not kept together; the columns of a cross-attention's key and value follow the decoder like all
others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlbench.backbones.narrow import chain
from vlbench.backbones.sites import SIDES, Side

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone, Batch
    from vlbench.techniques.base import BatchLoss

Importances = dict[Tensor, Tensor]


def importances(backbone: Backbone, batches: Iterable[BatchLoss], examples: int) -> Importances:
    """Sums of squared gradients of the token table's and the linear layers' weights, by weight.

    Without dropout. The backbone is left as it was.
    """
    weights: list[Tensor] = [backbone.table, *(linear.weight for linear in _linears(backbone))]
    before = [weight.requires_grad for weight in weights]
    was_training = backbone.training
    sums = [torch.zeros_like(weight) for weight in weights]
    backbone.eval()
    try:
        for weight in weights:
            weight.requires_grad_(True)
        for batch, _ in islice(batches, examples):
            gradients = torch.autograd.grad(text_loss(backbone, batch), weights)
            for total, gradient in zip(sums, gradients, strict=True):
                total.addcmul_(gradient, gradient)
    finally:
        for weight, is_trained in zip(weights, before, strict=True):
            weight.requires_grad_(is_trained)
        backbone.train(was_training)
    return dict(zip(weights, sums, strict=True))


def text_loss(backbone: Backbone, batch: Batch) -> Tensor:
    """The pretrained model's loss of a batch's targets, its text alone as input."""
    logits = backbone.language(
        input_ids=batch.input_ids,
        attention_mask=batch.input_ids.ne(backbone.config.pad_token_id).long(),
        decoder_input_ids=backbone.shift(batch.target_ids),
        use_cache=False,
    ).logits
    return functional.cross_entropy(logits.flatten(0, 1), batch.target_ids.flatten())


@torch.no_grad()
def prune(backbone: Backbone, found: Importances, stacks: Mapping[Side, Any]) -> None:
    """Fill narrow stacks with what pruning leaves of the backbone's."""
    kept = top(found[backbone.table].sum(dim=0), stacks["encoder"].config.d_model)
    for side in SIDES:
        wide, narrow = backbone.stack(side), stacks[side]
        for paths in chain(backbone, side):
            pairs = [(wide.get_submodule(path), narrow.get_submodule(path)) for path in paths]
            rows = _rows(pairs, kept, found)
            for old, new in pairs:
                _fill(new, old, rows, kept)
            kept = rows
        tables = backbone.position_tables(wide), backbone.position_tables(narrow)
        for own, copied in zip(*tables, strict=True):
            copied.copy_(own)


def top(importance: Tensor, number: int) -> Tensor:
    """Indices of the largest, in ascending order; of equals the first."""
    return importance.argsort(descending=True, stable=True)[:number].sort().values


def _linears(backbone: Backbone) -> list[nn.Linear]:
    found = []
    for side in SIDES:
        modules = (backbone.stack(side).get_submodule(p) for g in chain(backbone, side) for p in g)
        found += [module for module in modules if isinstance(module, nn.Linear)]
    return found


def _rows(pairs: list[tuple[Any, Any]], kept: Tensor, found: Importances) -> Tensor:
    """The rows that stay of modules that read the same input, of which the columns `kept` do."""
    old, new = pairs[0]
    if not isinstance(old, nn.Linear):
        return kept  # a norm
    product = torch.ones(old.out_features, len(kept), dtype=torch.float64, device=kept.device)
    for linear, _ in pairs:
        product *= found[linear.weight][:, kept]
    return top(product.sum(dim=1), new.out_features)


def _fill(new: nn.Module, old: nn.Module, rows: Tensor, columns: Tensor) -> None:
    for name, parameter in old.named_parameters():
        left = parameter[rows]
        new.get_parameter(name).copy_(left[:, columns] if parameter.dim() == 2 else left)
