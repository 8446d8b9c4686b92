"""What a command costs before it does anything: seconds, and the heavy libraries it imports.

Each command runs in a process of its own, in turn with `python -c pass`. Exit 1 where `--help`,
`list` or `show` import more than they may, or where `report` imports torch.

    python benchmarks/start_up.py [--rounds 5]
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from functools import partial

from measure import HOME, interleaved, options, record

HEAVY = (
    *("torch", "transformers", "accelerate", "peft", "numpy", "pandas", "pyarrow", "scipy"),
    *("matplotlib", "pydantic", "rich"),
)
LIGHT = frozenset({"pydantic", "rich"})
COMMANDS: dict[str, tuple[list[str], frozenset[str]]] = {
    "--help": (["--help"], LIGHT),
    "list methods": (["list", "methods"], LIGHT),
    "show compacter": (["show", "compacter"], LIGHT),
    "report": (
        ["report", "--results", "results/mini", "--format", "json"],
        frozenset(HEAVY) - {"torch", "transformers", "accelerate", "peft"},
    ),
    "params": (["params", "--method", "compacter"], frozenset(HEAVY)),
}
"""The words of each, and what it may import."""


def main() -> None:
    """Print a line a command."""
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    program = [sys.executable, "-m", "vlbench"]
    cases = {"python -c pass": partial(run, [sys.executable, "-c", "pass"])}
    cases |= {name: partial(run, [*program, *words]) for name, (words, _) in COMMANDS.items()}
    timings = interleaved(cases, given.rounds)
    print(f"{'command':18}{'seconds':>8}  {'ratio to bare Python':26}imports")
    faults = []
    for name, timing in timings.items():
        words, allowed = COMMANDS.get(name, ([], frozenset()))
        imported = imports([*program[1:], *words]) if words else []
        faults += [f"{name} imports {more}" for more in sorted(set(imported) - allowed)]
        print(f"{name:18}{timing.seconds:8.2f}  {timing.spread:26}{' '.join(imported)}")
        record("start_up", command=name, imports=imported, **timing._asdict())
    if faults:
        raise SystemExit("\n".join(faults))


def run(words: Sequence[str]) -> None:
    """A process, to its end."""
    subprocess.run(words, cwd=HOME, capture_output=True, check=True)


def imports(words: Sequence[str]) -> list[str]:
    """The heavy libraries that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words],
        cwd=HOME,
        capture_output=True,
        text=True,
        check=True,
    )
    names = set(re.findall(r"\| +(\w+)$", done.stderr, flags=re.MULTILINE))
    return [name for name in HEAVY if name in names]


if __name__ == "__main__":
    main()
