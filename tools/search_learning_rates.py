"""The search behind the `mini-bart/*` values of the method cards.

`python tools/search_learning_rates.py RESULTS [METHOD ...]` trains every method at every rate
with a seed that no reported run uses, and prints the average of the validation metrics after the
last epoch. Test splits are never looked at. The cards say which methods it was run for.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

METHODS = (
    "frozen",
    "full",
    "adapter",
    "shared-adapter",
    "half-shared-adapter",
    "compacter",
    "shared-compacter",
)
RATES = ("3e-3", "1e-2", "2e-2")
RATES_OF_FULL = ("3e-4", "1e-3", "3e-3")
"""All weights at once want smaller steps; as many trials as for the others."""
SEED = 1000


def search(results: Path, method: str) -> dict[str, float]:
    """Rate -> average validation metric of one method."""
    found = {}
    for rate in RATES_OF_FULL if method == "full" else RATES:
        command = [
            sys.executable,
            "-m",
            "vlbench",
            "run",
            "--method",
            method,
            "--tasks",
            "image-text",
        ]
        command += ["--seeds", str(SEED), "--set", f"train.learning_rate={rate}"]
        command += ["--results", str(results), "--json"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        key = json.loads(done.stdout)["items"][0]["key"]
        found[rate] = validation(results / "runs" / key / "metrics.jsonl")
        print(f"{method:22} {rate:>6}  {found[rate]:6.2f}", flush=True)
    return found


def validation(curve: Path) -> float:
    """The average validation metric after the last epoch."""
    lines = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()]
    last = [line["validation"] for line in lines if "validation" in line][-1]
    return float(sum(last.values()) / len(last))


def main() -> None:
    """Search, then print the best rate of each method."""
    results = Path(sys.argv[1])
    for method in sys.argv[2:] or METHODS:
        found = search(results, method)
        best = max(found, key=found.__getitem__)
        print(f"{method:22} best {best} with {found[best]:.2f}", flush=True)


if __name__ == "__main__":
    main()
