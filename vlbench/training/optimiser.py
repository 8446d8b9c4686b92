"""AdamW and the schedule as the authors ran them (transformers 4.2.1).

p <- p - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps), then p <- p - lr wd p. Unlike torch's
AdamW the decay comes second, on the updated p, and eps is added before the correction of v. t
counts the steps in which that parameter had a gradient: without one it neither moves nor decays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

UNDECAYED_BIAS = (nn.Linear, nn.LayerNorm)
"""Modules whose bias is spared from decay. Norm weights and Compacter's `b` decay, as theirs do."""


class AdamW(torch.optim.Optimizer):
    """The authors' AdamW, by torch's fused kernel."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step for every parameter that has a gradient.

        Torch's kernel decays first and corrects v before it adds eps. A rate of lr (1 - lr wd), a
        decay of wd / (1 - lr wd) and an eps of eps / sqrt(1 - b2^t) make it the authors' update.
        """
        for group in self.param_groups:
            (beta1, beta2), lr, decay = group["betas"], group["lr"], group["weight_decay"]
            kept = 1 - lr * decay
            alike: defaultdict[tuple[int, torch.device], list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    state = self.state[p]
                    if not state:
                        zeros = {"mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
                        state.update(step=0, **zeros)
                    state["step"] += 1
                    alike[state["step"], p.device].append(p)
            for (step, device), params in alike.items():
                torch._fused_adamw_(
                    params,
                    [p.grad for p in params if p.grad is not None],
                    [self.state[p]["mean"] for p in params],
                    [self.state[p]["square"] for p in params],
                    [],
                    [torch.full((), float(step), device=device)] * len(params),
                    lr=lr * kept,
                    beta1=beta1,
                    beta2=beta2,
                    weight_decay=decay / kept,
                    eps=group["eps"] / sqrt(1 - beta2**step),
                    amsgrad=False,
                    maximize=False,
                )


OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "authors-adamw": AdamW,
    "adamw": partial(torch.optim.AdamW, fused=True),
}
"""By the name in a card's `train.optimiser`."""


def parameter_groups(
    model: nn.Module, weight_decay: float, undecayed: Iterable[nn.Parameter] = ()
) -> list[dict[str, Any]]:
    """What trains, in two groups: decayed and spared.

    Spared are biases of linear layers and layer norms, by the module's type where the authors go
    by the name, and what backbone and technique name as `undecayed`.
    """
    spared = {
        module.bias
        for module in model.modules()
        if isinstance(module, UNDECAYED_BIAS) and module.bias is not None
    } | set(undecayed)
    params = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in params if p not in spared], "weight_decay": weight_decay},
        {"params": [p for p in params if p in spared], "weight_decay": 0.0},
    ]


def linear_schedule(
    optimiser: torch.optim.Optimizer, total_steps: int, warmup_ratio: float
) -> LambdaLR:
    """From 0 up to the rate in int(ratio x total) steps, then down to 0 at the last."""
    warmup = int(warmup_ratio * total_steps)

    def share(step: int) -> float:
        if step < warmup:
            return step / max(1, warmup)
        return max(0.0, (total_steps - step) / max(1, total_steps - warmup))

    return LambdaLR(optimiser, share)
