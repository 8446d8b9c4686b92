"""The techniques: a plain table. Reading it imports nothing heavy; using one does."""

from __future__ import annotations

TECHNIQUES = {
    "full": "vlbench.techniques.full:Full",
    "frozen": "vlbench.techniques.frozen:Frozen",
    "adapter": "vlbench.techniques.adapter:Adapter",
    "compacter": "vlbench.techniques.compacter:Compacter",
}
