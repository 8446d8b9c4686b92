"""The pages: what they hold, where they lead, and that nothing in results can break out of them."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest

from tests.leaderboard.boards import tied
from tests.leaderboard.builders import image_text, row, run
from tests.leaderboard.builders import write as write_runs
from tests.leaderboard.site.site_builders import (
    boards,
    describe,
    example,
    pages,
    pictures,
    predict,
    read,
    site,
    write,
)
from vlbench.errors import DataError
from vlbench.leaderboard.examples import Examples
from vlbench.leaderboard.site import write_site

HOSTILE = (
    "<script>alert('x')</script>",
    "\"'><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}",
    "javascript:alert(1)",
    "https://example.org/x",
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with several rows of a method, a row below a floor, one with a task missing."""
    folder = tmp_path_factory.mktemp("small")
    families = [
        row("full", "gqa", 40.0, family="query color", majority=45.0, n_examples=200),
        row("full", "gqa", 60.0, family="is there", majority=50.0, n_examples=200),
    ]
    full = image_text("full", 70, 60, 80, 110)
    full[1]["majority"] = 35.0
    return site(
        folder,
        full + families,
        image_text("full", 72, 62, 82, 114, seed=1),
        image_text("full", 5, 30, 60, 90, settings="train.epochs=1"),
        image_text("lora", 60, 50, 70, 90, sharing="task", technique="lora"),
        run("unfinished", {"vqav2": 60.0, "gqa": 50.0, "nlvr2": 70.0}),
        image_text("frozen", 10, 20, 50, 30),
        image_text("full", 7, 6, 8, 11, scope="smoke", limit=8, key="smoke-run"),
        root=pictures(folder / "data"),
    )


@pytest.fixture(scope="module")
def results(out: Path) -> Path:
    return out.parent / "results"


def cells(out: Path, method: str) -> list[str]:
    """The texts of a method's row in the first table."""
    for line in read(out / "index.html").all("table", "main")[0].all("tr"):
        heads = line.all("th", scope="row")
        if heads and heads[0].text == method:
            return [cell.text for cell in line.all("td")]
    raise AssertionError(f"no row {method}")


def test_every_link_leads_to_a_file_and_an_id_in_it_and_stays_inside(out: Path) -> None:
    known = {page: read(page).every() for page in pages(out)}
    ids = {
        page: [e.attributes["id"] for e in elements if "id" in e.attributes]
        for page, elements in known.items()
    }
    for page, elements in known.items():
        assert len(ids[page]) == len(set(ids[page]))
        for element in elements:
            for target in filter(None, map(element.attributes.get, ("href", "src"))):
                parts = urlsplit(target)
                assert not parts.scheme and not parts.netloc and not target.startswith("/"), target
                file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
                assert file.is_file() and file.is_relative_to(out), f"{page.name}: {target}"
                assert not parts.fragment or unquote(parts.fragment) in ids[file], target


def test_pages_hold_no_code_and_forbid_what_is_not_their_own(out: Path) -> None:
    for page in pages(out):
        root = read(page)
        for element in root.every():
            assert element.tag != "style"
            assert not [a for a in element.attributes if a == "style" or a.startswith("on")]
            assert element.tag != "script" or (element.attributes["src"] and not element.text)
        policies = {"http-equiv": "Content-Security-Policy"}
        [policy] = [meta.attributes["content"] for meta in root.all("meta", **policies)]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy and ":" not in policy
    for file in (out / "site.css", out / "site.js"):
        text = file.read_text("utf-8")
        assert "//" not in re.sub(r"^\s*//.*$|/\*.*?\*/|// .*$", "", text, flags=re.M)
        assert "@import" not in text and "url(" not in text


def test_a_cell_is_mean_deviation_and_a_link_to_its_runs(out: Path) -> None:
    assert cells(out, "full")[2:4] == ["71.0 ±1.4", "61.0 ±1.4"]
    [link] = [link for link in read(out / "index.html").all("a") if link.text == "71.0"]
    page, _, anchor = link.attributes["href"].partition("#")
    [section] = read(out / page).all("section", id=anchor)
    assert "full--mini-1" in section.text


def test_rows_below_a_floor_without_a_task_and_floors_are_marked(out: Path) -> None:
    assert cells(out, "full (train.epochs=1)")[2] == "↓ at or below a floor: 5.0"
    assert cells(out, "unfinished")[6] == "— 3/4"
    table = read(out / "index.html").all("table", "main")[0]
    complete = ["data-complete" in line.attributes for line in table.all("tr", "method")]
    assert complete == [True, True, True, False]
    assert [len(body.all("tr")) for body in table.all("tbody")] == [4, 1, 1]
    floors = [body.all("th")[0].text for body in table.all("tbody", "floors")]
    assert floors == ["frozen", "majority answer"]


def test_the_best_and_rows_tied_with_it_are_marked(results: Path, tmp_path: Path) -> None:
    board = boards(results)[0]
    ties = {"full": {"gqa.accuracy": 1}, "lora": {"gqa.accuracy": 1}}
    write_site([tied(board, ties)], Examples(results), tmp_path, has_media=False)
    assert cells(tmp_path, "lora")[3] == "50.0 best or tied with it"
    assert cells(tmp_path, "lora")[2] == "60.0"


def test_the_page_of_a_method_shows_provenance_card_recipe_tuning_costs_and_samples(
    out: Path,
) -> None:
    [block] = read(out / "methods" / "full.html").all("div", "inside", id="run-full--mini-1")
    for text in (
        *("full--mini-1", "0.1.0", "cpu", "2026-11-22T10:00:00+00:00", "gqa-of-mini", "c0ffee"),
        "vlbench run --method full --tasks image-text --seeds 1 --backbone mini-bart",
    ):
        assert text in block.text
    page = read(out / "methods" / "lora.html")
    for text in (
        *("also-lora", "Somebody, 2022", "its gate is shared", "reduction 8"),
        *("learning_rate 0.003", "train.learning_rate: 1e-3, 3e-3", "adapter (KB) 330.0"),
        "training (s) 71.2",
    ):
        assert text in page.text
    examples = page.all("article", "example")
    assert len(examples) == 4 * 4
    assert all(example.all("img") for example in examples)
    assert "What colour is thing 1?" in page.text
    assert len(list((out / "images").iterdir())) <= 8


def test_the_page_of_a_task_shows_card_floor_methods_and_families(out: Path) -> None:
    page = read(out / "tasks" / "gqa.html")
    for text in ("prompt gpa:", "source Who, 2019", "test examples 500", "majority answer", "35.0"):
        assert text in page.text
    families = page.all("table")[1]
    assert "query color" in families.text and "200" in families.text
    assert "at or below a floor: 40.0" in families.text


def charts(tmp_path: Path, *runs: Any) -> dict[str, str]:
    """The charts on the first page, by file, with their texts."""
    out = write(write_runs(tmp_path / "results", *runs), tmp_path / "out")
    files = [out / image.attributes["src"] for image in read(out / "index.html").all("img")]
    return {file.stem.partition("_")[2]: file.read_text("utf-8") for file in files}


def test_a_board_is_drawn_against_each_cost_that_two_methods_have(tmp_path: Path) -> None:
    drawn = charts(
        tmp_path,
        image_text("full", 9, 9, 9, 9, adapter_bytes=None),
        image_text("lora", 8, 8, 8, 8),
        image_text("adapter", 8, 8, 8, None),
    )
    assert list(drawn) == ["trainable_parameters", "peak_memory_bytes", "train_seconds"]
    assert "no trainable parameters: adapter." in drawn["trainable_parameters"]
    runs = image_text("full", 9, 9, 9, 9), image_text("frozen", 1, 1, 1, 1)
    assert charts(tmp_path / "one", *runs) == {}


def test_text_from_results_is_text_and_names_lead_to_no_file_outside(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    names = (*HOSTILE, "../../x", "/x", "X", "x", "methods/x", "index", "..", "日本 $x$ \\frac")
    for number, text in enumerate(names):
        named = {"title": text, "technique": text, "sharing": text, "settings": text}
        named |= {"device": text, "versions": text, "code_version": text, "key": f"k{number}"}
        rows = image_text(text, number, 2, 3, 4, **named)
        rows += [row(text, "gqa", 1.0, family=text, majority=2.0, **named)]
        card = {name: text for name in ("title", "source", "published", "prompt", "metric")}
        describe(write_runs(folder, rows), rows, card={**card, "deviations": [text]})
        words = {"text": text, "prediction": text, "references": json.dumps(text), "family": text}
        predict(folder / "runs" / f"k{number}", "gqa", [example(n, **words) for n in range(8)])
    out = write(folder, tmp_path / "site")
    assert {path.name for path in tmp_path.iterdir()} == {"results", "site"}
    assert len(list((out / "methods").iterdir())) == len(names)
    written = ""
    for page in pages(out):
        root = read(page)
        assert len(root.all("script")) == 1
        for element in root.every():
            assert element.tag != "img" or "charts/" in element.attributes["src"]
            assert element.tag != "script" or not element.text
            assert not [name for name in element.attributes if name.startswith("on")]
            target = urlsplit(element.attributes.get("href", ""))
            assert not target.scheme and not target.netloc
        written += root.text
    assert [text for text in names if text not in written] == []
    for file in (out / "charts").iterdir():
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(file).iter()}
        assert not tags & {"script", "image", "a", "foreignObject"}
    [index] = read(out / "index.html").all("table", "main")
    links = [head.all("a")[0].attributes["href"] for head in index.all("th", scope="row")]
    assert len({link.partition("#")[0] for link in links}) == len(names)


@pytest.mark.parametrize("key", ["../../secret", "/etc", ".."])
def test_a_run_key_that_is_a_path_is_refused(results: Path, tmp_path: Path, key: str) -> None:
    board = boards(results)[0]
    hostile = replace(board, runs=[replace(run, key=key) for run in board.runs])
    with pytest.raises(DataError, match="is a path"):
        write_site([hostile], Examples(results), tmp_path / "out")


def test_a_spec_of_any_shape_leaves_the_page_without_it(tmp_path: Path) -> None:
    rows = image_text("full", 1, 2, 3, 4)
    folder = write_runs(tmp_path, rows)
    run = folder / "runs" / rows[0]["key"]
    for spec in ("{", '{"method": [1]}', "[" * 9999):
        (run / "spec.json").write_text(spec)
        predict(run, "gqa", [example(1, images=None, text=None, references=None)])
        out = write(folder, tmp_path / "out")
        page = read(out / "methods" / "full.html")
        assert page.all("section", "row") and "The run's spec is not at hand." in page.text


def test_predictions_that_are_unreadable_are_left_out_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    for number, method in enumerate(("full", "lora")):
        rows = image_text(method, 70 - number, 60, 80, 110)
        describe(write_runs(folder, rows), rows)
    predict(folder / "runs" / "lora--mini-0", "gqa", [example(1), example(2, score=math.nan)])
    damaged: list[DataError] = []
    write_site(boards(folder), Examples(folder, damaged), tmp_path / "site")
    assert ["lora--mini-0/predictions/gqa.parquet: column 'score'" in str(e) for e in damaged] == [
        True
    ]
    page = tmp_path / "site" / "methods" / "lora.html"
    assert not re.search(r"\bnan\b", page.read_text())
    assert read(page).text.count("The predictions are not at hand.") == 1


@pytest.mark.slow
def test_the_same_results_give_the_same_bytes_and_pages_that_are_gone_are_removed(
    out: Path, results: Path, tmp_path: Path
) -> None:
    again = shutil.copytree(out, tmp_path / "site")
    write(results, again)
    for file in out.rglob("*"):
        if file.is_file():
            assert (again / file.relative_to(out)).read_bytes() == file.read_bytes(), file
    first = boards(results)[0]
    rows = [row for row in first.rows if row.method != "lora"]
    write_site([replace(first, rows=rows)], Examples(results), again, has_media=False)
    assert not (again / "methods" / "lora.html").exists()
    assert (again / "methods" / "full.html").exists()
