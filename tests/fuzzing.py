"""Cards, configuration, predictions and runs of any bytes: what commands do with them.

`python -m tests.fuzzing MINUTES` tries new ones until then, and tells what broke; `make fuzz`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.runs.builders import Bench, do, make_bench

CODES = {0, 1, 2, 3, 4}
"""1: what `verify` says of a run that was changed; 4: nothing is there to report."""
MOST_LINES = 11  # ten faults and their number
"""On stderr."""
MOST_SECONDS = 10.0
PROJECT = Path(__file__).resolve().parents[1]
HOSTILE = (
    *(b"[" * 2_000, b"{" * 500, b'{"a":' * 2_000, b"9" * 400, b"9" * 5_000, b"0x" + b"f" * 5_000),
    *(b"1e999", b"-1", b"0", b"NaN", b"inf", b"null", b"true", b"[]", b"{}", b'""', b"[[]]"),
    *(b"a.b." * 5_000, b"a" * 300, b'"' + b"a" * 300 + b'"', b"\x00", b'"\\u0000"', b"\xff"),
    *(b"1", b"2", b"7", b"4294967295", b"0.5", b"1e308", b"false", b'"all"', b'"1"', b'["a"]'),
    *(b'"\\ud800"', b"\xef\xbb\xbf", b"\r", b"\n", b"\x1b[2J", b'"\xe2\x80\xae"', b"'", b'"', b","),
)
TOKEN = re.compile(rb'-?\d[\w.+-]*|"[^"\n]*"|true|false|null|\[[^\[\]]*\]|\{[^{}]*\}')


class Trial(NamedTuple):
    """Words of a command line, and the files that it reads, below the working folder."""

    words: tuple[str, ...]
    files: Mapping[str, bytes]
    environment: Mapping[str, str] = {}


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """A valid text with one to three places spoilt, or any bytes at all."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=100) | st.sampled_from(HOSTILE))
    content = valid
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 40)))
        tokens = list(TOKEN.finditer(content))
        how = draw(st.sampled_from(["token", "token", "token", "put", "flip", "cut", "repeat"]))
        if how == "token" and tokens:
            start, end = draw(st.sampled_from(tokens)).span()
        hostile = draw(st.sampled_from(HOSTILE) | st.binary(max_size=4))
        part = {
            "flip": bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in content[start:end][:3]),
            "cut": b"",
            "repeat": content[start:end] * draw(st.sampled_from([2, 50, 2_000])),
        }.get(how, hostile)
        content = content[:start] + part + content[start if how == "put" else end :]
    return content


@st.composite
def spoilt_table(draw: st.DrawFn, valid: bytes) -> bytes:
    """A Parquet file whose bytes are spoilt, or one column of its table."""
    if draw(st.booleans()):
        return draw(mutated(valid))
    table = pq.read_table(pa.BufferReader(valid))
    column = draw(st.integers(0, table.num_columns - 1))
    name, cells, count = table.column_names[column], table.column(column), table.num_rows
    changes: list[Callable[[], pa.Table]] = [
        lambda: table.drop_columns([name]),
        lambda: table.append_column(name, cells),
        lambda: table.slice(0, 0),
        lambda: pa.concat_tables([table] * 300),
        lambda: table.set_column(column, name, pa.array([None] * count, cells.type)),
        *(
            lambda value=value: table.set_column(column, name, pa.array([value] * count))
            for value in ("9" * 400, 2**62, float("nan"), float("inf"))
        ),
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(draw(st.sampled_from(changes))(), sink)
    return sink.getvalue().to_pybytes()


ANSWERS = [{"answer": "dog"} for _ in range(10)]
QUESTION = {"question": "Which one?", "answer": "dog", "imageId": "1", "isBalanced": True}
OPTIONS = {f"a{n}": f"dog {n}" for n in range(5)}


def lines(*records: dict[str, Any]) -> str:
    """The records as JSON Lines."""
    return "".join(f"{json.dumps(record)}\n" for record in records)


TASKS: dict[str, tuple[object, object]] = {
    "vqav2": (
        [{"question_id": 5, "answer": "dog"}],
        {"annotations": [{"question_id": 5, "image_id": 5, "answers": ANSWERS}]},
    ),
    "gqa": ([{"questionId": "5", "prediction": "dog"}], {"5": {**QUESTION, "entailed": []}}),
    "nlvr2": (
        "dev-1-0-0,True\n",
        lines({"identifier": "dev-1-0-0", "label": "True", "sentence": "a"}),
    ),
    "tvqa": (
        {"1": 2},
        lines({"qid": 1, "answer_idx": 1, "vid_name": "a", "q": "Which?", "ts": "1-2", **OPTIONS}),
    ),
}
"""Task -> right predictions and annotations; Java scores captions and is not tried."""
CONFIG = b"""
tasks = "vqav2"
seeds = [0]
limit = 4
jobs = 1
devices = "cpu"
[set]
sharing = "all"
params.reduction = 8
train.epochs = 1
[slurm]
partition = "long"
time_minutes = 5
setup = ["module load java"]
[slurm.extra]
nice = 3
"""


@st.composite
def shown(draw: st.DrawFn) -> Trial:
    """A card of a method, a task or a backbone, to be shown."""
    names = ["methods/compacter", "methods/shared-lora", "tasks/gqa", "backbones/mini-bart"]
    name = draw(st.sampled_from(names))
    card = (PROJECT / f"{name}.toml").read_bytes()
    return Trial(("show", "./card.toml"), {"card.toml": draw(mutated(card))})


@st.composite
def planned(draw: st.DrawFn, bench: Bench) -> Trial:
    """A plan with a card, a task's card or a configuration file of somebody's own."""
    words = ("plan", "--root", str(bench.root), "--backbone-path", str(bench.backbone))
    kind = draw(st.sampled_from(["method", "task", "backbone", "config", "set"]))
    if kind == "method":
        card = (PROJECT / "methods" / "half-shared-adapter.toml").read_bytes()
        words += ("--method", "./card.toml", "--tasks", "vqav2")
        return Trial(words, {"card.toml": draw(mutated(card))})
    if kind == "task":
        card = (PROJECT / "tasks" / "vqav2.toml").read_bytes()
        words += ("--method", "frozen", "--tasks", "./card.toml")
        return Trial(words, {"card.toml": draw(mutated(card))})
    words += ("--method", "shared-adapter", "--tasks", "vqav2")
    if kind == "backbone":
        card = (PROJECT / "backbones" / "mini-bart.toml").read_bytes()
        return Trial((*words, "--backbone", "./card.toml"), {"card.toml": draw(mutated(card))})
    if kind == "config":
        environment = {"VLBENCH_CONFIG": "vlbench.toml"}
        return Trial(words, {"vlbench.toml": draw(mutated(CONFIG))}, environment)
    value = draw(mutated(b"train.epochs=2")).decode(errors="replace").replace("\x00", "")
    return Trial((*words, "--set", value), {})


@st.composite
def scored(draw: st.DrawFn) -> Trial:
    """Predictions, and sometimes annotations, of any task."""
    task = draw(st.sampled_from(sorted(TASKS)))
    right = [(text if isinstance(text, str) else json.dumps(text)).encode() for text in TASKS[task]]
    spoilt = draw(st.sampled_from([0, 0, 0, 1]))
    right[spoilt] = draw(mutated(right[spoilt]))
    words = ("score", task, "--predictions", "predictions", "--annotations", "annotations")
    return Trial(words, dict(zip(("predictions", "annotations"), right, strict=True)))


@st.composite
def kept(draw: st.DrawFn, results: Path) -> Trial:
    """A folder of results, one file of whose first run is spoilt."""
    files = {
        f"results/{file.relative_to(results).as_posix()}": file.read_bytes()
        for file in sorted(results.rglob("*"))
        if file.is_file() and file.suffix != ".safetensors"
    }
    run = min(results.glob("runs/*"))
    name = draw(st.sampled_from([name for name in files if run.name in name]))
    change = spoilt_table if name.endswith(".parquet") else mutated
    files[name] = draw(change(files[name]))
    commands = [
        ("status", "--json", "--all"),
        *(("list", "runs"), ("logs", run.name), ("report",), ("report", "--format", "json")),
        *(("verify",), ("plot", "curves", "--out", "a.svg")),
        ("results", "export", "--out", "out.tar.gz"),
        ("compare", "shared-adapter", "shared-adapter"),
    ]
    return Trial(draw(st.sampled_from(commands)), files)


def kinds(bench: Bench, results: Path) -> dict[str, st.SearchStrategy[Trial]]:
    """What is tried."""
    return {"show": shown(), "plan": planned(bench), "score": scored(), "results": kept(results)}


def make_results(bench: Bench, results: Path) -> Path:
    """The folder, with two runs."""
    for method in ("shared-adapter", "full"):
        do(bench.spec(method), results)
    return results


def fault(trial: Trial) -> str:
    """Do it; what is wrong with how that ended, and nothing where nothing is."""
    from vlbench.cli.app import app

    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for name, content in trial.files.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(content)
        began = time.monotonic()
        result = CliRunner(env=dict(trial.environment)).invoke(app, list(trial.words))
        seconds = time.monotonic() - began
    if result.exception and not isinstance(result.exception, SystemExit):
        return "".join(traceback.format_exception(result.exception))
    if result.exit_code not in CODES or "Traceback" in result.output:
        return f"exit code {result.exit_code}: {result.output[-2000:]}"
    if (count := result.stderr.count("\n")) > MOST_LINES:
        return f"{count} lines: {result.stderr[:2000]}"
    return f"{seconds:.0f} seconds" if seconds > MOST_SECONDS else ""


def trials(
    strategy: st.SearchStrategy[Trial], count: int, is_random: bool, judge: Callable[[Trial], None]
) -> None:
    """Have so many of them judged."""

    @settings(
        max_examples=count,
        derandomize=not is_random,
        database=None,
        deadline=None,
        phases=[Phase.generate] if is_random else [Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def judged(trial: Trial) -> None:
        judge(trial)

    judged()


def main(minutes: float) -> int:
    """Try until then; each kind of fault is printed once."""
    warnings.simplefilter("ignore")
    faults: Counter[str] = Counter()
    deadline = time.monotonic() + 60 * minutes

    def judge(trial: Trial) -> None:
        if time.monotonic() < deadline and (text := fault(trial)):
            where = re.findall(r'File ".*?([\w/]+\.py)", line (\d+)', text)
            kind = f"{text.strip().splitlines()[-1][:60]} {where[-1:]}"
            faults[kind] += 1
            if faults[kind] == 1:
                files = {file: content[:300] for file, content in trial.files.items()}
                print(f"{' '.join(trial.words)[:300]}\n{str(files)[:3000]}\n{text[-3000:]}\n")

    with tempfile.TemporaryDirectory(prefix="vlbench-fuzz-") as folder:
        os.environ |= {"VLBENCH_CACHE": f"{folder}/cache"}
        bench = make_bench(Path(folder))
        results = make_results(bench, Path(folder, "results"))
        while time.monotonic() < deadline:
            for strategy in kinds(bench, results).values():
                trials(strategy, 50, True, judge)
    for kind, count in faults.most_common():
        print(f"{count:6} x {kind}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
