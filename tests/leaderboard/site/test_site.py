"""The pages: what they hold, where they lead, and that nothing in results can break out of them."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
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


def test_each_method_and_task_has_a_page(out: Path) -> None:
    names = [str(path.relative_to(out)) for path in pages(out)]
    methods = [f"methods/{name}.html" for name in ("frozen", "full", "lora", "unfinished")]
    tasks = [f"tasks/{name}.html" for name in ("coco", "gqa", "nlvr2", "vqav2")]
    assert names == ["index.html", *methods, *tasks]


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


def test_tables_inputs_and_pictures_can_be_read_aloud(out: Path) -> None:
    for page in pages(out):
        root = read(page)
        assert root.all("html")[0].attributes["lang"] == "en"
        assert all(image.attributes["alt"] for image in root.all("img"))
        for table in root.all("table"):
            assert table.all("caption")[0].text
            scopes = {head.attributes.get("scope") for head in table.all("th")}
            assert scopes <= {"col", "row", "rowgroup"}
            heads = len(table.all("thead")[0].all("th"))
            for line in [line for body in table.all("tbody") for line in body.all("tr")]:
                spans = [int(cell.attributes.get("colspan") or 1) for cell in line.inner]
                assert sum(spans) == heads
    index = read(out / "index.html")
    named = {label.attributes.get("for") for label in index.all("label")}
    wrapped = [field for label in index.all("label") for field in label.all("input")]
    for field in [*index.all("input"), *index.all("select")]:
        assert field.attributes.get("id") in named or field in wrapped


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


def test_boards_stand_apart_and_rows_of_a_method_have_sections(out: Path) -> None:
    ids = [s.attributes["id"] for s in read(out / "index.html").all("section", "board")]
    assert ids == ["image-text-mini-bart-mini", "image-text-mini-bart-mini-smoke-8"]
    sections = read(out / "methods" / "full.html").all("section", "row")
    assert len({section.attributes["id"] for section in sections}) == len(sections) == 3


def test_the_page_of_a_method_says_where_each_number_comes_from(out: Path) -> None:
    [block] = read(out / "methods" / "full.html").all("div", "inside", id="run-full--mini-1")
    for text in (
        *("full--mini-1", "0.1.0", "cpu", "2026-11-22T10:00:00+00:00", "gqa-of-mini", "c0ffee"),
        "vlbench run --method full --tasks image-text --seeds 1 --backbone mini-bart",
        "--edition full",
    ):
        assert text in block.text


def test_the_page_of_a_method_shows_card_recipe_tuning_costs_and_curve(out: Path) -> None:
    page = read(out / "methods" / "lora.html")
    for text in (
        *("also-lora", "Somebody, 2022", "its gate is shared", "reduction 8"),
        *("learning_rate 0.003", "train.learning_rate: 1e-3, 3e-3", "adapter (KB) 330.0"),
        "training (s) 71.2",
    ):
        assert text in page.text
    [chart] = page.all("img", src="../charts/lora_image-text-mini-bart-mini.svg")
    assert "for each task: gqa from 3.75 to 0.2" in chart.attributes["alt"]


def test_samples_and_worst_errors_have_pictures_and_text(out: Path) -> None:
    page = read(out / "methods" / "lora.html")
    examples = page.all("article", "example")
    assert len(examples) == 4 * (3 + 2)  # of four errors two are among the samples
    assert all(example.all("img") for example in examples)
    assert "What colour is thing 0?" in page.text
    assert len(list((out / "images").iterdir())) <= 8
    assert all(image.attributes["loading"] == "lazy" for image in page.all("img"))


def test_the_page_of_a_task_shows_card_floor_methods_families_and_hardest(out: Path) -> None:
    page = read(out / "tasks" / "gqa.html")
    for text in ("prompt gpa:", "source Who, 2019", "test examples 500", "majority answer", "35.0"):
        assert text in page.text
    families = page.all("table")[1]
    assert "query color" in families.text and "200" in families.text
    assert "at or below a floor: 40.0" in families.text
    hard = page.all("article", "example")
    assert hard[0].all("p", "id")[0].text == "e0 · query color"
    assert "Mean score 0.0" in hard[0].text and re.search("blue .4", hard[0].text)


def test_only_tasks_with_a_majority_answer_show_it(out: Path) -> None:
    has_row = {p.stem: "majority answer" in read(p).text for p in (out / "tasks").iterdir()}
    assert has_row == {"gqa": True, "vqav2": False, "nlvr2": False, "coco": False}


def test_published_rows_stand_in_a_table_of_their_own(out: Path) -> None:
    index = read(out / "index.html")
    [section] = index.all("section", id="published")
    assert "Nothing in this section was measured by vlbench" in section.text
    assert any("Run by VL-PET authors." in head.text for head in section.all("th", "group"))
    assert not [table for table in index.all("table", "main") if "VL-PET" in table.text]
    assert "as printed in papers, not measured here" in section.all("caption")[0].text
    links = {link.attributes["href"] for link in section.all("a")}
    assert links == {f"methods/{name}.html" for name in ("frozen", "full", "lora")}


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
    assert "adapter (3/4 tasks)" in drawn["trainable_parameters"]
    runs = image_text("full", 9, 9, 9, 9), image_text("frozen", 1, 1, 1, 1)
    assert charts(tmp_path / "one", *runs) == {}


def test_of_many_methods_the_best_and_the_frontier_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlbench.leaderboard.site.media.MOST_DRAWN", 2)
    runs = [image_text(f"m{n}", n, n, n, n, trainable_parameters=100 + n // 2) for n in range(1, 6)]
    text = charts(tmp_path, *runs)["trainable_parameters"]
    drawn = [name for name in ("m1", "m2", "m3", "m4", "m5") if f">{name}<" in text]
    assert drawn == ["m1", "m3", "m4", "m5"]  # m1 and m3 are the best at their costs
    assert "Drawn: the frontier and the first 2 of 5 methods." in text


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


def test_spec_card_and_log_of_any_shape_do_no_harm(tmp_path: Path) -> None:
    rows = image_text("full", 1, 2, 3, 4)
    folder = write_runs(tmp_path, rows)
    place = folder / "runs" / rows[0]["key"]
    mini = {"name": "gqa", "reader": "gqa", "splits": ["a"], "visual": "image"}
    for spec in (
        {"method": [1], "tasks": {"name": "gqa"}, "settings": "x"},
        {"method": {"params": 3, "train": [1, {"a": 2}], "tuning": "no", "deviations": "one"}},
        {"tasks": [3, {"name": "gqa", "splits": ["a"], "reader": 7, "choices": {"a": 1}}]},
        {"tasks": [mini], "edition": "mini", "root": str(tmp_path)},
    ):
        (place / "spec.json").write_text(json.dumps(spec))
        (place / "metrics.jsonl").write_text('[1]\n{"step": "a", "loss": {}}\n{"validation": 3}\n')
        predict(place, "gqa", [example(1, images=None, text=None, references=None)])
        messages: list[str] = []
        out = write(folder, tmp_path / "out", messages.append)
        assert read(out / "methods" / "full.html").all("section", "row")
        assert any("metrics.jsonl: line 1: Neither a loss" in text for text in messages)


def test_a_torn_log_and_losses_of_zero_leave_the_page_without_their_curve(tmp_path: Path) -> None:
    rows = image_text("full", 1, 2, 3, 4), image_text("lora", 1, 2, 3, 4)
    folder = write_runs(tmp_path, *rows)
    files = [folder / "runs" / run[0]["key"] / "metrics.jsonl" for run in rows]
    files[0].write_text('{"step": 1, "ta')
    losses = [
        {"step": n, "task": task, "loss": loss, "epoch": 1}
        for n in range(1, 5)
        for task, loss in (("gqa", 0.0), ("coco", -1.0), ("vqav2", 2.0))
    ]
    files[1].write_text("".join(f"{json.dumps(line)}\n" for line in losses))
    messages: list[str] = []
    out = write(folder, tmp_path / "out", messages.append)
    assert [text for text in messages if "metrics.jsonl: line 1: " in text]
    assert "Training" not in read(out / "methods" / "full.html").text
    alts = [image.attributes["alt"] for image in read(out / "methods" / "lora.html").all("img")]
    assert [alt for alt in alts if alt.endswith("a line for each task: vqav2 from 2 to 2.")]


def test_results_without_anything_beside_them_make_a_site(tmp_path: Path) -> None:
    out = write(write_runs(tmp_path, image_text("full", 1, 2, 3, 4)), tmp_path / "out")
    for page in ("methods/full.html", "tasks/gqa.html"):
        assert "The predictions are not at hand." in read(out / page).text


def test_without_pictures_examples_are_text(tmp_path: Path) -> None:
    out = site(tmp_path, image_text("full", 1, 2, 3, 4), root="/gone")
    page = read(out / "methods" / "full.html")
    assert all("charts/" in image.attributes["src"] for image in page.all("img"))
    assert "picture not at hand" in page.text


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


@pytest.mark.slow
def test_writing_a_site_imports_no_torch() -> None:
    program = (
        "import sys, vlbench.leaderboard.site\n"
        "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)\n"
        "import vlbench.leaderboard.pareto\n"
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
