"""Run folders with all that a site shows, made from a few words, and pages read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.leaderboard.builders import TASKS
from tests.leaderboard.builders import write as write_runs
from vlbench.leaderboard.board import Board
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.results import read_results
from vlbench.leaderboard.site import write_site
from vlbench.leaderboard.summarise import summarise
from vlbench.runs.spec import SCHEMA

SUITES = {"image-text": list(TASKS)}
READER = "gqa"
"""Of every task here: its pictures lie in one folder."""
VOID = {"meta", "link", "img", "input", "br"}
Rows = list[dict[str, Any]]
COLUMNS = ["id", "family", "images", "text", "prediction", "references", "score"]
ANSWERS = pa.schema(
    [(name, pa.list_(pa.string()) if name == "images" else pa.string()) for name in COLUMNS[:-1]]
    + [("score", pa.float64())]
)


def boards(folder: Path) -> list[Board]:
    return summarise(read_results(folder), SUITES)


def site(folder: Path, *runs: Rows, **others: Any) -> Path:
    """The site of these runs, written below `folder`."""
    for rows in runs:
        describe(write_runs(folder / "results", rows), rows, **others)
    out = folder / "site"
    return write(folder / "results", out)


def write(results: Path, out: Path, say: Callable[[str], None] = lambda _: None) -> Path:
    """The site of a results folder."""
    write_site(boards(results), Examples(results), out, say)
    return out


def describe(folder: Path, rows: Rows, **others: Any) -> None:
    """What lies beside a run's result: its spec, its log, its predictions."""
    run = folder / "runs" / rows[0]["key"]
    (run / "spec.json").write_text(json.dumps(spec(rows, **others)))
    log = [{"step": n, "task": "gqa", "loss": 5 / n, "epoch": 1} for n in range(1, 20)]
    ended = {"epoch": 1, "validation": {"gqa.accuracy": 61.5}}
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in [*log, ended]))
    for task in {row["task"] for row in rows}:
        predict(run, task, [example(n) for n in range(8)])


def spec(rows: Rows, root: str = "", card: dict[str, Any] | None = None) -> dict[str, Any]:
    """A spec as a run keeps it."""
    row = rows[0]
    method = {
        **{name: row[name] for name in ("title", "technique")},
        "name": row["method"],
        "aliases": ["also-" + row["method"]],
        "source": "Somebody, 2022",
        "deviations": ["its gate is shared"],
        "tuning": {"searched": ["train.learning_rate: 1e-3, 3e-3"], "trials": 2},
        "params": {"reduction": 8},
        "train": {"learning_rate": 0.003, "epochs": 3},
    }
    splits = {"full": {"train": ["train"], "val": ["val"], "test": ["testdev"]}}
    task = {"reader": READER, "metric": "gqa", "prompt": "gpa: ", "source": "Who, 2019"}
    tasks = [
        {"name": name, "title": name.upper(), "splits": splits, **task, **(card or {})}
        for name in dict.fromkeys(row["task"] for row in rows)
    ]
    facts = {name: row[name] for name in ("suite", "backbone", "backbone_hash", "seed", "limit")}
    facts |= {"schema": SCHEMA, "key": row["key"], "edition": "full", "root": root, "data": {}}
    return {**facts, "method": method, "tasks": tasks}


def example(number: int, **others: Any) -> dict[str, Any]:
    made = {
        "id": f"e{number}",
        "family": "query color",
        "images": [f"p{number}"],
        "text": f"What colour is thing {number}?",
        "prediction": "red" if number % 2 else "blue",
        "references": json.dumps("red"),
        "score": float(number % 2),
    }
    return made | others


def predict(run: Path, task: str, rows: Sequence[dict[str, Any]]) -> None:
    (run / "predictions").mkdir(exist_ok=True)
    table = pa.Table.from_pylist(list(rows), schema=ANSWERS)
    pq.write_table(table, run / "predictions" / f"{task}.parquet")


def pictures(root: Path, count: int = 8) -> str:
    """A data root with the pictures of the examples."""
    folder = root / "GQA" / "images"
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (64, 48), (10 * number, 90, 90)).save(folder / f"p{number}.jpg")
    return str(root)


class Element:
    """A tag of a page with its attributes, its text and the tags within."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.inner: list[Element] = []
        self.words: list[str] = []

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    def all(self, tag: str, within: str = "", **attributes: str) -> list[Element]:
        """The tags of that kind below, in their order, with a class and attributes."""
        return [
            element
            for element in self.every()
            if element.tag == tag and (not within or within in element.classes)
            if attributes.items() <= element.attributes.items()
        ]

    def every(self) -> list[Element]:
        return [element for inner in self.inner for element in (inner, *inner.every())]


class Page(HTMLParser):
    """Reads a page; a tag that is closed wrongly is an error."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.root = Element("", {})
        self.stack = [self.root]
        self.feed(path.read_text("utf-8"))
        self.close()
        assert self.stack == [self.root], f"{path}: {self.stack[-1].tag} is not closed"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attributes})
        assert len(element.attributes) == len(attributes), f"{tag}: an attribute twice"
        self.stack[-1].inner.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack[-1].tag == tag, f"{self.path}: </{tag}> ends <{self.stack[-1].tag}>"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        for element in self.stack:
            element.words.append(data)


def read(path: Path) -> Element:
    return Page(path).root


def pages(out: Path) -> list[Path]:
    return sorted(out.rglob("*.html"))
