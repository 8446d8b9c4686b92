"""What the settings of a process are worth on this CPU: huge pages, threads, pinning, waiting.

Each setting is a process of its own that takes the same training steps; the processes take turns.
The first is what vlbench sets in its workers (`vlbench.process.with_defaults`).

    python benchmarks/cpu_settings.py [--backbone clip-bart] [--method shared-adapter] [--rounds 9]
"""

from __future__ import annotations

import os
from functools import partial

from measure import options, record
from sides import Side, in_turn, obey, seconds

from vlbench.process import with_defaults

CORES = str(os.cpu_count())
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
OURS = with_defaults({"OMP_NUM_THREADS": CORES})
SETTINGS: dict[str, dict[str, str]] = {
    "as vlbench sets it": OURS,
    "other pages": OURS | {HUGE_PAGES: "0" if OURS.get(HUGE_PAGES) == "1" else "1"},
    "one thread": OURS | {"OMP_NUM_THREADS": "1"},
    "threads pinned": OURS | {"OMP_PROC_BIND": "true"},
    "threads sleep at once": OURS | {"GOMP_SPINCOUNT": "0"},
}


def main() -> None:
    """Print a line a setting."""
    parser = options(__doc__)
    parser.add_argument("--backbone", default="clip-bart", choices=["clip-bart", "clip-t5"])
    parser.add_argument("--method", default="shared-adapter")
    parser.add_argument("--batch", type=int, default=8, help="examples in a batch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--side", action="store_true", help="be a side and obey standard input")
    given = parser.parse_args()
    if given.side:
        from shapes import new_trainer, random_batch  # torch reads its settings as it is imported

        step = new_trainer(given.method, given.backbone, "image").step
        obey({"step": partial(seconds, partial(step, random_batch("image", given.batch), 1))})
        return
    chosen = ["--backbone", given.backbone, "--method", given.method, "--batch", str(given.batch)]
    words = [__file__, "--side", *chosen]
    sides = {name: Side(words, environment) for name, environment in SETTINGS.items()}
    print(f"{given.backbone}, {given.method}, batch {given.batch}, {CORES} CPUs")
    for name, timing in in_turn(sides, "step", given.rounds).items():
        print(f"{name:24}{timing.seconds:8.2f} s  {timing.spread}")
        where = {"backbone": given.backbone, "method": given.method, "batch": given.batch}
        record("cpu_settings", setting=name, **where, **timing._asdict())


if __name__ == "__main__":
    main()
