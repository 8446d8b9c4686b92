"""The techniques: a plain table. Reading it imports nothing heavy; using one does."""

from __future__ import annotations

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
