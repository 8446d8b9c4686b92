"""The documents are true: their links lead somewhere, their commands exist, their examples run."""

from __future__ import annotations

import csv
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.main import get_command

from vlbench.cards import find_tasks
from vlbench.cli.app import app
from vlbench.data.images import find_pictures
from vlbench.data.readers import load_reader
from vlbench.data.table import indexed
from vlbench.metrics import load_metric

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("results/*.md")]
)
ROOT = get_command(app)


def each_document(function: Any) -> Any:
    return pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)(function)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as code forges make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_links_lead_to_files_and_headings_there_are(document) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        if re.match(r"\w+:", target):
            continue  # of the web
        path, _, anchor = target.partition("#")
        other = document.parent / path if path else document
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


def fenced(document: Path) -> list[str]:
    """The commands in blocks, as a shell would see them."""
    blocks = re.findall(r"^```(?:\w*)\n(.*?)^```", document.read_text("utf-8"), re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.strip().startswith("vlbench ")]


def inline(document: Path) -> list[str]:
    """The commands in running text."""
    text = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.M | re.S)
    return [" ".join(span.split()) for span in re.findall(r"`(vlbench [^`]+)`", text)]


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The innermost command of the words, and what is left of them."""
    command = ROOT
    while getattr(command, "commands", None) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no command '{words[0]}'"
        command, words = command.commands[words[0]], words[1:]
    return command, words


@each_document
def test_every_command_and_option_exists(document) -> None:
    for line in fenced(document) + inline(document):
        words = shlex.split(line)[1:]
        if words[0] in ("COMMAND", "<what>"):
            continue
        command, rest = find_command(words)
        known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        for word in rest:
            if word.startswith("-"):
                assert word.partition("=")[0] in known, line


@each_document
def test_every_command_in_a_block_can_be_typed_as_it_stands(document) -> None:
    for line in fenced(document):
        command, rest = find_command(shlex.split(line)[1:])
        assert not getattr(command, "commands", None), f"{line}: a subcommand is missing"
        command.make_context(command.name, rest)  # refuses what is missing or of a wrong type


# docs/adding-a-task.md


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the documented card and reader, and a few rows of data."""
    text = (PROJECT / "docs" / "adding-a-task.md").read_text("utf-8")
    files = re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert [name for name, _ in files] == ["pets.toml", "pets.py"]
    for name, body in files:
        (tmp_path / name).write_text(body, "utf-8")
    folder = tmp_path / "data" / "pets"
    (folder / "pictures").mkdir(parents=True)
    for n, split in enumerate(("train", "val", "test")):
        Image.new("RGB", (9, 7), (80 * n, 0, 0)).save(folder / "pictures" / f"{n}.png")
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "picture", "question", "answer"])
            rows.writerow([f"{split}-1", str(n), "What is it?", "a cat"])
            rows.writerow([f"{split}-2", str(n), "Which way does it look?", "left, at us"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pets", raising=False)
    yield tmp_path
    sys.modules.pop("pets", None)


def test_the_documented_task_is_read_and_scored(pets) -> None:
    name, [card] = find_tasks("./pets.toml")
    assert name == card.name == "pets"
    reader = load_reader(card.reader, pets / "data")
    splits = card.splits["full"]
    for split in (*splits.train, *splits.val, *splits.test):
        found, faults = find_pictures(reader, indexed(reader, split, train=False))
        assert len(reader.read(split)) == 2 and len(found) == 1 and not faults.texts
    examples = reader.read("test")
    assert examples[1].targets == {"left, at us": 1.0} and examples[1].family == "Which"
    scored = load_metric(card.metric)(
        {example.id: example.annotation for example in examples},
        {example.id: "A cat" for example in examples},
    )
    assert scored.metrics == {card.main_metric: 50.0}
