"""What answering costs with each technique, against the plain backbone of the same process.

Greedy answers of at most 10 tokens and captions of five beams and 20 tokens, as
`vlbench.training.predict` generates them; the plain backbone is the method `frozen`. Random weights
end an answer nowhere in particular, so every case is made to write all tokens. Captions get half as
many rounds.

    python benchmarks/generation.py [--backbone clip-bart] [--batch 8] [--rounds 7]
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from measure import interleaved, options, record
from shapes import TASKS, adapted, card, random_backbone, random_batch

from vlbench.data.batches import Batch

FLOOR = "frozen"
METHODS = (
    *("shared-adapter", "shared-compacter", "compacter", "hyperformer", "shared-lora", "lora"),
    *("vl-pet-large", "shared-prompt-tuning", "lst"),
)
WAYS = {"greedy, 10 tokens": (1, 10), "5 beams, 20 tokens": (5, 20)}


def main() -> None:
    """Print a table, a technique a line."""
    parser = options(__doc__)
    parser.add_argument("--backbone", default="clip-bart", choices=["clip-bart", "clip-t5"])
    parser.add_argument("--batch", type=int, default=8, help="examples in a batch")
    parser.add_argument("--rounds", type=int, default=7, help="of short answers")
    parser.add_argument("--methods", default=",".join(METHODS))
    given = parser.parse_args()
    batch = random_batch("image", given.batch)
    print(f"{given.backbone}, batch {given.batch}, fp32, {torch.get_num_threads()} threads")
    print(f"{'':22}" + "".join(f"{f'{way}: s':>24}  {'ratio':20}" for way in WAYS))
    floor = new_model(FLOOR, given.backbone)
    for method in given.methods.split(","):
        show(method, given, batch, {"floor": floor, "case": new_model(method, given.backbone)})


def show(method: str, given: Any, batch: Batch, models: dict[str, Any]) -> None:
    """A line of the table."""
    cells = []
    for way, (beams, length) in WAYS.items():
        cases = {
            name: partial(generate, model, batch, beams, length) for name, model in models.items()
        }
        rounds = given.rounds if beams == 1 else max(1, given.rounds // 2)
        timing = interleaved(cases, rounds)["case"]
        cells.append(f"{timing.seconds:24.2f}  {timing.spread:20}")
        labels = {"backbone": given.backbone, "way": way, "method": method}
        record("generation", **labels, **timing._asdict())
    print(f"{method:22}" + "".join(cells), flush=True)


def new_model(method: str, backbone: str) -> Any:
    """The adapted backbone, of random weights."""
    return adapted(random_backbone(backbone, "image"), card(method, backbone, "image"))


@torch.inference_mode()
def generate(model: Any, batch: Batch, beams: int, length: int) -> None:
    """As `vlbench.training.predict.answers` does for the batches of a task."""
    model.backbone.language.generation_config.min_length = length
    with model.answering(TASKS[0]):
        rows = model.generate(batch, beams=beams, max_length=length)
    assert {len(row) for row in rows} == {length}


if __name__ == "__main__":
    main()
