"""The techniques: a plain table. Reading it imports nothing heavy; using one does."""

from __future__ import annotations

JOINED_BY = "+"
"""Between the names of techniques that are composed."""
TECHNIQUES = {
    "full": "vlbench.techniques.full:Full",
    "frozen": "vlbench.techniques.frozen:Frozen",
    "adapter": "vlbench.techniques.adapter:Adapter",
    "compacter": "vlbench.techniques.compacter:Compacter",
    "hyperformer": "vlbench.techniques.hyperformer:Hyperformer",
    "lora": "vlbench.techniques.lora:LoRA",
    "prompt": "vlbench.techniques.prompt:PromptTuning",
    "bitfit": "vlbench.techniques.bitfit:BitFit",
    "low_rank_adapter": "vlbench.techniques.low_rank_adapter:LowRankAdapter",
    "vl_pet": "vlbench.techniques.vl_pet:VLPET",
    "lst": "vlbench.techniques.lst:LST",
    "peft": "vlbench.techniques.peft:Peft",
}


def parts_of(technique: str) -> list[str]:
    """The techniques that a card names: one, or those of a composition."""
    return [part.strip() for part in technique.split(JOINED_BY)]
