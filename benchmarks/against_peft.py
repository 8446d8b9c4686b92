"""Our LoRA against what a user would write instead: plain transformers and peft, and a bare loop.

Each side is a process of its own with one model: BART-base sizes, random weights, 36 visual tokens,
fp32, dropout 0.1 of states, attention and activations, clipping, AdamW and a schedule. The
processes take turns, every second round in the other order; the table shows the median of the
rounds' ratios to `peft`, with their quartiles.

- `peft`: transformers' BART, peft's LoRA at query and value, torch's fused AdamW, nothing of ours;
  merged while it answers.
- `bare`: the same loop without LoRA, where the visual projection alone trains: the floor.
- `lora, same work`: our technique without what the authors' LoRA trains beside it, the biases;
  and without dropout in front of the update.
- `lora` and `peft-lora`: our cards as they run.

    python benchmarks/against_peft.py [--rounds 5] [--batch 8]
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from measure import Measured, compared, options, peak_mb, record
from shapes import CLIP, TASKS, new_trainer, random_batch
from sides import Side, in_turn, obey, seconds
from torch import Tensor, nn
from torch.nn import functional
from transformers import EncoderDecoderCache

from vlbench.backbones import encoder_decoder
from vlbench.backbones.weights import ADDED_TOKENS, BART_BASE
from vlbench.data.batches import Batch

STEPS_ALONE = "... no dropout"
"""A side whose answers are another's."""
CARDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "lora, same work": ("shared-lora", ("params.biases=false",)),
    STEPS_ALONE: ("shared-lora", ("params.biases=false", "params.dropout=0.0")),
    "lora": ("shared-lora", ()),
    "peft-lora": ("peft-lora", ()),
}
"""Side -> our card and what is set on it."""
PLAIN = ("peft", "bare")
SIDES = (*PLAIN, *CARDS)  # the first is what the others are compared with
WAYS = {"greedy": (1, 10), "beams": (5, 20)}
"""Name of a way to answer -> beams and tokens."""
BEFORE = "beams, all keys reordered"
"""Five beams as they were before the encoder's keys and values were left where they are."""


def main() -> None:
    """Print a table, a side a line."""
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8, help="examples in a batch")
    parser.add_argument("--side", choices=SIDES, help="be this side and obey standard input")
    given = parser.parse_args()
    if given.side:
        obey(measures(given.side, given.batch))
        return
    print(f"batch {given.batch}, {torch.get_num_threads()} threads, {given.rounds} rounds")
    words = [__file__, "--batch", str(given.batch), "--side"]
    sides = {name: Side([*words, name]) for name in SIDES}
    steps = in_turn(sides, "step", given.rounds)
    peaks = {name: side.ask("peak") for name, side in sides.items()}
    answering = {name: side for name, side in sides.items() if name != STEPS_ALONE}
    timings = {"step": steps} | {way: in_turn(answering, way, given.rounds) for way in WAYS}
    print(f"{'side':18}" + "".join(f"{measure:24}" for measure in timings) + "peak MB of steps")
    for name in SIDES:
        of_side = {measure: timing[name] for measure, timing in timings.items() if name in timing}
        cells = "".join(f"{of_side[m].spread if m in of_side else '':24}" for m in timings)
        print(f"{name:18}{cells}{peaks[name]:16,.0f}")
        record("against_peft", side=name, measure="peak", mb=peaks[name])
        for measure, timing in of_side.items():
            record("against_peft", side=name, measure=measure, **timing._asdict())
    caches = interleaved_measures(sides["lora"], (BEFORE, "beams"), given.rounds)
    print(f"lora, beams beside {BEFORE}: {caches.spread}")
    record("against_peft", side="lora", measure=f"beams beside {BEFORE}", **caches._asdict())


def interleaved_measures(side: Side, measures: tuple[str, str], rounds: int) -> Measured:
    """The second measure of one process beside its first."""
    taken = {measure: list[float]() for measure in measures}
    for _ in range(rounds):
        for measure in measures:
            taken[measure].append(side.ask(measure))
    first, second = taken.values()
    return compared(second, first)


def measures(side: str, size: int) -> dict[str, Callable[[], float]]:
    """What a side measures: seconds of a step and of each way to answer, and its peak so far."""
    batch = random_batch("image", size)
    step, generate = plain_side(side, batch) if side in PLAIN else our_side(side, batch)
    ways = {name: partial(seconds, partial(generate, *way)) for name, way in WAYS.items()}
    before = reordering(ways["beams"])
    return {"step": partial(seconds, step), **ways, BEFORE: before, "peak": peak_mb}


def reordering(beams: Callable[[], float]) -> Callable[[], float]:
    """Beam search with transformers' own cache, which moves the encoder's keys and values too."""

    def search() -> float:
        with patch.object(encoder_decoder, "BeamCache", EncoderDecoderCache):
            return beams()

    return search


def our_side(side: str, batch: Batch) -> tuple[Callable[[], object], Callable[[int, int], object]]:
    """A step of the trainer, and answers as `vlbench.training.predict` gives them."""
    method, settings = CARDS[side]
    trainer = new_trainer(method, "clip-bart", "image", settings=settings)
    model = trainer.bare
    config = model.backbone.language.generation_config

    @torch.inference_mode()
    def generate(beams: int, length: int) -> None:
        config.min_length = length
        with model.answering(TASKS[0]):
            rows = model.generate(batch, beams=beams, max_length=length)
        assert {len(row) for row in rows} == {length}
        model.train()

    return partial(trainer.step, batch, 1), generate


class PlainModel(nn.Module):
    """Transformers' BART behind a projection of pooled features, as a user's script has it."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BartForConditionalGeneration

        config: Any = deepcopy(BART_BASE)
        config.vocab_size += len(ADDED_TOKENS)
        config.attention_dropout = config.activation_dropout = config.dropout  # the authors' recipe
        self.language: Any = BartForConditionalGeneration(config)
        self.language.requires_grad_(False)
        width = config.d_model
        self.visual = nn.Sequential(nn.Linear(CLIP["image"].width, width), nn.LayerNorm(width))

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """The text's embeddings and the picture's, (B, L + 36, C), and their mask."""
        grid = batch.features[:, 0].unflatten(1, (7, 7)).permute(0, 3, 1, 2)
        pooled = functional.adaptive_max_pool2d(grid, 6).flatten(2).transpose(1, 2)
        text = self.language.get_input_embeddings()(batch.input_ids)
        embeddings = torch.cat([text, self.visual(pooled)], dim=1)
        mask = embeddings.new_ones(embeddings.shape[:2], dtype=torch.long)
        return {"inputs_embeds": embeddings, "attention_mask": mask}


def plain_side(
    side: str, batch: Batch
) -> tuple[Callable[[], object], Callable[[int, int], object]]:
    """A step and answers of a plain loop, with peft's LoRA or with none."""
    from peft import LoraConfig, get_peft_model
    from transformers import get_linear_schedule_with_warmup

    torch.manual_seed(0)
    model = PlainModel()
    if side == "peft":
        lora: Any = LoraConfig(
            r=128, lora_alpha=32, lora_dropout=0.1, target_modules=["q_proj", "v_proj"]
        )
        model.language = get_peft_model(model.language, lora)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.01, fused=True)
    schedule = get_linear_schedule_with_warmup(optimiser, 100, 10_000)
    model.train()

    def step() -> None:
        loss = model.language(**model.inputs(batch), labels=batch.target_ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 5.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()

    @torch.inference_mode()
    def generate(beams: int, length: int) -> None:
        model.eval()
        if side == "peft":
            model.language.merge_adapter()
        sizes = {"max_length": length, "min_length": length}
        rows = model.language.generate(
            **model.inputs(batch), **sizes, num_beams=beams, do_sample=False
        )
        assert rows.shape[1] == length
        if side == "peft":
            model.language.unmerge_adapter()
        model.train()

    return step, generate


if __name__ == "__main__":
    main()
