"""One small set of pictures, questions and answers in each format of your own data."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from vlbench.cards import TaskCard, load_task
from vlbench.data.readers import card_reader
from vlbench.data.readers.own import OwnData

COLOURS = {"red": (220, 20, 20), "blue": (20, 20, 220), "green": (20, 200, 20)}
SIZES = {"train": 12, "val": 6, "test": 6}
FORMATS = ("jsonl", "llava", "csv", "folder")
NAMES = {"jsonl": "data.jsonl", "llava": "data.json", "csv": "data.csv", "folder": ""}
Record = dict[str, Any]


def records(split: str) -> list[Record]:
    """A question about the colour of each picture of a split."""
    names = [list(COLOURS)[n % 3] for n in range(SIZES[split])]
    question = 'What "colour" is it, then?'
    return [
        {"id": f"q{n}", "image": f"{n}.png", "question": question, "answer": name}
        for n, name in enumerate(names)
    ]


def write_set(folder: Path, reader: str, more: str = "", **keys: Any) -> Path:
    """Write pictures, the three splits in a format and the card; return the card's path."""
    for number, split in enumerate(SIZES):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for n, record in enumerate(records(split)):
            shade = tuple(min(255, part + 5 * n + number) for part in COLOURS[record["answer"]])
            Image.new("RGB", (64, 64), shade).save(folder / split / record["image"])
        write_records(folder / split, reader, records(split))
    name = NAMES[reader]
    return write_card(folder, reader, {s: [f"{s}/{name}"] for s in SIZES}, more, **keys)


def write_records(folder: Path, reader: str, rows: Iterable[Record]) -> Path:
    """Write the records of one split in a format."""
    name = NAMES[reader] or "metadata.jsonl"
    rows = list(rows)
    if reader == "csv":
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(rows)
        return folder / name
    if reader == "folder":
        rows = [{"file_name": row.pop("image"), **row} for row in rows]
    if reader == "llava":
        rows = [
            {
                **{key: row[key] for key in ("id", "image")},
                "conversations": [
                    {"from": "human", "value": f"<image>\n{row['question']}"},
                    {"from": "gpt", "value": row["answer"]},
                ],
            }
            for row in rows
        ]
        (folder / name).write_text(json.dumps(rows), "utf-8")
    else:
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        (folder / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return folder / name


def write_card(folder: Path, reader: str, files: Record, more: str = "", **keys: Any) -> Path:
    """Write `colours.toml`; `more` are further lines of it, `keys` stand in place of its own."""
    own = {"title": "Colours", "reader": reader, "metric": "accuracy", **keys}
    lines = [f"{key} = {json.dumps(value)}" for key, value in own.items()]
    lines += [more, "[files]", *(f"{key} = {json.dumps(value)}" for key, value in files.items())]
    path = folder / "colours.toml"
    path.write_text("\n".join(lines), "utf-8")
    return path


def reader_of(path: Path) -> OwnData:
    """The reader of a card."""
    card: TaskCard = load_task(str(path))
    reader = card_reader(card, Path("/nowhere"))
    assert isinstance(reader, OwnData)
    return reader
