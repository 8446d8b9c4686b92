"""What our tensors are called in the state dicts of VL-Adapter's code (BART).

Their modules that tasks share stand there once per task; the first task's name is the original.
"""

from __future__ import annotations

import re
from collections.abc import Callable

ADAPTERS = {
    "encoder_self_attention": "attn_adapter",
    "encoder_feed_forward": "ff_adapter",
    "decoder_self_attention": "self_attn_adapter",
    "decoder_cross_attention": "enc_attn_adapter",
    "decoder_feed_forward": "ff_adapter",
}
"""Their name of the module at a site, by side and kind."""


def _site(found: re.Match[str]) -> str:
    side, layer, kind = found.groups()
    return f"model.{side}.layers.{layer}.{ADAPTERS[f'{side}_{kind}']}."


VISUAL = "model.encoder.visual_embedding."
RULES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^backbone\.language\.", ""),
    (r"^backbone\.visual\.feature\.", VISUAL + "feat_embedding."),
    (r"^backbone\.visual\.place\.", VISUAL + "absolute_vis_pos_embedding."),
    (r"^backbone\.visual\.image\.", VISUAL + "img_order_embedding."),
    (r"^technique\.rule$", "phm_rule"),
    (r"^technique\.sites\.(encoder|decoder)_(\d+)_(\w+)\.", _site),
    (r"\b(down|up)\.layers\.(\w+)\.", r"adapters.\2.\1_sampler."),
    (r"\.rule$", ".phm_rule"),
    (r"\.factors\.0$", ".W"),
)
"""Applied one after the other, each where it fits."""


def authors_name(name: str, first_task: str) -> str:
    """Their name of a parameter or buffer of an AdaptedModel; `first_task` as they spell it."""
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name.replace(".adapters.all.", f".adapters.{first_task}.")
