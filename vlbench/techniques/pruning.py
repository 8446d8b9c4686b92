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

from vlbench.backbones.sites import SIDES, Side

if TYPE_CHECKING:
    from vlbench.backbones.base import Backbone, Batch
    from vlbench.techniques.base import BatchLoss

Importances = dict[Tensor, Tensor]


def importances(backbone: Backbone, batches: Iterable[BatchLoss], examples: int) -> Importances:
    """Sum squared gradients of the token embedding and the linear layers, without dropout."""
    weights: list[Tensor] = [
        backbone.token_embedding,
        *(linear.weight for linear in _linears(backbone)),
    ]
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
    """Return the pretrained model's loss of a batch's targets, its text alone as input."""
    logits = backbone.language(
        input_ids=batch.input_ids,
        attention_mask=batch.input_ids.ne(backbone.config.pad_token_id).long(),
        decoder_input_ids=backbone.shift(batch.target_ids),
        use_cache=False,
    ).logits
    return functional.cross_entropy(logits.flatten(0, 1), batch.target_ids.flatten())


@torch.no_grad()
def prune(backbone: Backbone, importance: Importances, stacks: Mapping[Side, Any]) -> None:
    """Fill narrow stacks with the rows and columns of the backbone's that pruning keeps."""
    kept = top(importance[backbone.token_embedding].sum(dim=0), stacks["encoder"].config.d_model)
    for side in SIDES:
        wide, narrow = backbone.stack(side), stacks[side]
        for paths in layer_order(backbone, side):
            pairs = [(wide.get_submodule(path), narrow.get_submodule(path)) for path in paths]
            rows = _rows(pairs, kept, importance)
            for old, new in pairs:
                _fill(new, old, rows, kept)
            kept = rows
        biases = backbone.position_biases(wide), backbone.position_biases(narrow)
        for own, copied in zip(*biases, strict=True):
            copied.copy_(own)


def top(importance: Tensor, number: int) -> Tensor:
    """Return the indices of the largest, in ascending order; of equals the first."""
    return importance.argsort(descending=True, stable=True)[:number].sort().values


def _linears(backbone: Backbone) -> list[nn.Linear]:
    linears = []
    for side in SIDES:
        paths = (path for group in layer_order(backbone, side) for path in group)
        modules = (backbone.stack(side).get_submodule(path) for path in paths)
        linears += [module for module in modules if isinstance(module, nn.Linear)]
    return linears


def layer_order(backbone: Backbone, side: Side) -> list[tuple[str, ...]]:
    """List the paths of a stack's linear layers and norms in the order of the forward pass.

    Those in one tuple read the same input.
    """
    architecture = backbone.architecture
    order: list[tuple[str, ...]] = []
    if architecture.first_norm:
        order.append((architecture.first_norm,))
    for i, layer in enumerate(backbone.layers(side)):
        paths = {path for path, _ in layer.named_modules()}
        for sublayer in backbone.sublayers:
            if sublayer.side == side:
                order += [
                    tuple(f"{architecture.layers}.{i}.{path}" for path in group if path in paths)
                    for group in sublayer.order
                ]
    return [*order, (architecture.last_norm,)] if architecture.last_norm else order


def _rows(pairs: list[tuple[Any, Any]], kept: Tensor, importance: Importances) -> Tensor:
    """Return the rows to keep of modules that read the same input, whose columns `kept` stay."""
    old, new = pairs[0]
    if not isinstance(old, nn.Linear):
        return kept  # a norm
    product = torch.ones(old.out_features, len(kept), dtype=torch.float64, device=kept.device)
    for linear, _ in pairs:
        product *= importance[linear.weight][:, kept]
    return top(product.sum(dim=1), new.out_features)


def _fill(new: nn.Module, old: nn.Module, rows: Tensor, columns: Tensor) -> None:
    for name, parameter in old.named_parameters():
        left = parameter[rows]
        new.get_parameter(name).copy_(left[:, columns] if parameter.dim() == 2 else left)
