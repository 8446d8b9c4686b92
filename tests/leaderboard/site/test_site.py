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

from tests.leaderboard.builders import image_text, row, run, write
from tests.leaderboard.site.site_builders import (
    boards,
    describe,
    example,
    pages,
    pictures,
    predict,
    read,
    site,
)
from vlbench.errors import DataError, UsageError
from vlbench.leaderboard.site import write_site

SCRIPT = "<script>alert('x')</script>"
BREAKOUT = "\"'><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two methods, one of them on two seeds, and a floor."""
    folder = tmp_path_factory.mktemp("small")
    root = pictures(folder / "data")
    return site(
        folder,
        image_text("full", 70, 60, 80, 110),
        image_text("full", 72, 62, 82, 114, seed=1),
        image_text("lora", 60, 50, 70, 90, sharing="task", technique="lora"),
        image_text("frozen", 10, 20, 50, 30),
        root=root,
    )


def cells(out: Path, method: str) -> list[str]:
    """The texts of a method's row in the first table."""
    for line in read(out / "index.html").all("table", "main")[0].all("tr"):
        heads = line.all("th", scope="row")
        if heads and heads[0].text == method:
            return [cell.text for cell in line.all("td")]
    raise AssertionError(f"no row {method}")


def test_there_is_a_page_for_each_method_and_task(small: Path) -> None:
    names = [str(path.relative_to(small)) for path in pages(small)]
    methods = [f"methods/{name}.html" for name in ("frozen", "full", "lora")]
    tasks = [f"tasks/{name}.html" for name in ("coco", "gqa", "nlvr2", "vqav2")]
    assert names == ["index.html", *methods, *tasks]


def test_every_link_leads_to_a_file_and_a_place_in_it_and_stays_inside(small: Path) -> None:
    known = {page: read(page).every() for page in pages(small)}
    ids = {
        p: {e.attributes["id"] for e in each if "id" in e.attributes} for p, each in known.items()
    }
    for page, elements in known.items():
        for element in elements:
            for name in ("href", "src"):
                target = element.attributes.get(name)
                if target is None:
                    continue
                parts = urlsplit(target)
                assert not parts.scheme and not parts.netloc and not target.startswith("/"), target
                file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
                assert file.is_file() and file.is_relative_to(small), f"{page.name}: {target}"
                if parts.fragment:
                    assert unquote(parts.fragment) in ids[file], f"{page.name}: {target}"


def test_no_page_has_an_id_twice_or_code_within(small: Path) -> None:
    for page in pages(small):
        elements = read(page).every()
        names = [element.attributes["id"] for element in elements if "id" in element.attributes]
        assert len(names) == len(set(names))
        for element in elements:
            assert element.tag != "style"
            assert not [a for a in element.attributes if a == "style" or a.startswith("on")]
            assert element.tag != "script" or (element.attributes["src"] and not element.text)


def test_every_page_forbids_what_is_not_its_own(small: Path) -> None:
    for page in pages(small):
        [policy] = [
            meta.attributes["content"]
            for meta in read(page).all("meta")
            if meta.attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy and ":" not in policy


def test_files_name_no_other_host(small: Path) -> None:
    for file in (small / "site.css", small / "site.js"):
        text = file.read_text("utf-8")
        assert "//" not in re.sub(r"^\s*//.*$|/\*.*?\*/|// .*$", "", text, flags=re.M)
        assert "@import" not in text and "url(" not in text


def test_a_cell_is_mean_deviation_and_a_link_to_its_runs(small: Path) -> None:
    assert cells(small, "full")[2:4] == ["71.0 ±1.4", "61.0 ±1.4"]
    [table] = read(small / "index.html").all("table", "main")
    [link] = [each for each in table.all("a") if each.text == "71.0"]
    page, _, anchor = link.attributes["href"].partition("#")
    [section] = read(small / page).all("section", id=anchor)
    assert "full--mini-1" in section.text


def test_the_page_of_a_method_tells_where_each_number_comes_from(small: Path) -> None:
    [block] = read(small / "methods" / "full.html").all("div", "inside", id="run-full--mini-1")
    for text in (
        *("full--mini-1", "0.1.0", "cpu", "2026-11-22T10:00:00+00:00", "gqa-of-mini", "c0ffee"),
        "vlbench run --method full --tasks image-text --backbone mini-bart",
        "--edition full --seeds 1",
    ):
        assert text in block.text


def test_the_page_of_a_method_shows_card_recipe_tuning_costs_and_curve(small: Path) -> None:
    page = read(small / "methods" / "lora.html")
    for text in (
        *(
            "also-lora",
            "Somebody, 2022",
            "its gate is shared",
            "reduction 8",
            "learning_rate 0.003",
        ),
        *("train.learning_rate: 1e-3, 3e-3", "adapter (KB) 330.0", "training (s) 71.2", "61.5"),
    ):
        assert text in page.text
    [chart] = page.all("img", src="../charts/lora_image-text-mini-bart-mini.svg")
    assert "for each task: gqa from 3.75 to 0.2" in chart.attributes["alt"]


def charts(tmp_path: Path, *runs: Any) -> dict[str, str]:
    """The charts on the first page, by file, with their texts."""
    out = tmp_path / "out"
    folder = write(tmp_path / "results", *runs)
    write_site(boards(folder), folder, out)
    images = read(out / "index.html").all("img")
    assert all(image.attributes["alt"] for image in images)
    files = [out / image.attributes["src"] for image in images]
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


def test_one_method_makes_no_chart(tmp_path: Path) -> None:
    assert charts(tmp_path, image_text("full", 9, 9, 9, 9), image_text("frozen", 1, 1, 1, 1)) == {}


def test_of_many_methods_the_best_and_the_frontier_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlbench.leaderboard.site.media.MOST_DRAWN", 2)
    runs = [image_text(f"m{n}", n, n, n, n, trainable_parameters=100 + n // 2) for n in range(1, 6)]
    text = charts(tmp_path, *runs)["trainable_parameters"]
    drawn = [name for name in ("m1", "m2", "m3", "m4", "m5") if f">{name}<" in text]
    assert drawn == ["m1", "m3", "m4", "m5"]  # m1 and m3 are the best at their costs
    assert "Drawn: the frontier and the first 2 of 5 methods." in text


def test_letters_that_the_font_of_charts_lacks_and_losses_of_zero_do_no_harm(
    tmp_path: Path,
) -> None:
    rows = image_text("日本 $x$ \\frac", 9, 9, 9, 9, key="run")
    folder = write(tmp_path, rows, image_text("full", 8, 8, 8, 8))
    describe(folder, rows)
    log = [
        {"step": n, "task": task, "loss": loss, "epoch": 1}
        for n in range(1, 5)
        for task, loss in (("gqa", 0.0), ("coco", -1.0), ("vqav2", 2.0))
    ]
    file = folder / "runs" / rows[0]["key"] / "metrics.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in log))
    write_site(boards(folder), folder, tmp_path / "out")
    [file] = (tmp_path / "out" / "methods").glob("x-frac-*.html")
    alts = [image.attributes["alt"] for image in read(file).all("img")]
    assert [alt for alt in alts if alt.endswith("a line for each task: vqav2 from 2 to 2.")]


def test_samples_and_worst_errors_have_pictures_and_text(small: Path) -> None:
    page = read(small / "methods" / "lora.html")
    shown = page.all("article", "example")
    assert len(shown) == 4 * (3 + 2)  # of four errors two are among the samples
    assert all(each.all("img") for each in shown)
    assert "What colour is thing 0?" in page.text
    assert len(list((small / "images").iterdir())) <= 8
    for image in page.all("img"):
        assert image.attributes["alt"] and image.attributes["loading"] == "lazy"


def test_without_pictures_there_is_text(tmp_path: Path) -> None:
    out = site(tmp_path, image_text("full", 1, 2, 3, 4), root="/gone")
    page = read(out / "methods" / "full.html")
    assert all("charts/" in image.attributes["src"] for image in page.all("img"))
    assert "picture not at hand" in page.text


def test_the_page_of_a_task_shows_card_floor_methods_families_and_hardest(tmp_path: Path) -> None:
    rows = image_text("full", 70, 60, 80, 110, majority=None)
    rows.append(row("full", "gqa", 40.0, family="query color", majority=45.0, n_examples=200))
    rows[1]["majority"] = 35.0
    page = read(site(tmp_path, rows) / "tasks" / "gqa.html")
    for text in ("Prompt gpa:", "Source Who, 2019", "Test examples 500", "majority answer", "35.0"):
        assert text in page.text
    families = page.all("table")[1]
    assert "query color n=200" in families.text
    assert "at or below a floor: 40.0" in families.text
    hard = page.all("article", "example")
    assert hard[0].all("p", "id")[0].text == "e0 · query color"
    assert "Mean score 0.0" in hard[0].text


def test_an_incomplete_row_says_how_many_tasks_there_are(tmp_path: Path) -> None:
    out = site(tmp_path, run("full", {"vqav2": 60.0, "gqa": 50.0, "nlvr2": 70.0}))
    assert cells(out, "full")[6] == "— 3/4"
    [line] = read(out / "index.html").all("tr", "method")
    assert "data-complete" not in line.attributes


def test_floors_come_last_and_what_is_below_one_is_marked(small: Path, tmp_path: Path) -> None:
    table = read(small / "index.html").all("table", "main")[0]
    assert [len(body.all("tr")) for body in table.all("tbody")] == [2, 1]
    assert table.all("tbody", "floors")[0].all("th")[0].text == "frozen"
    below = site(tmp_path, image_text("full", 1, 60, 80, 9), image_text("frozen", 1, 2, 3, 9))
    assert cells(below, "full")[2] == "↓ at or below a floor: 1.0"


def test_the_best_and_what_ties_with_it_is_marked(tmp_path: Path) -> None:
    runs = [
        image_text(name, *values) for name, values in (("full", (9, 9, 9, 9)), ("lora", (8,) * 4))
    ]
    folder = write(tmp_path, *runs)
    [board] = boards(folder)
    full, lora = board.rows
    tied = replace(
        board, rows=[replace(full, ties={"average": 1}), replace(lora, ties={"average": 2})]
    )
    write_site([tied], folder, tmp_path / "out")
    table = read(tmp_path / "out" / "index.html").all("table", "main")[0]
    [best] = table.all("td", "best")
    assert best.text == "9.0 best or tied with it"


def test_boards_stand_apart_and_each_row_has_its_own_part(tmp_path: Path) -> None:
    out = site(
        tmp_path,
        image_text("full", 70, 60, 80, 110),
        image_text("full", 7, 6, 8, 11, scope="smoke", limit=8, key="smoke-run"),
        image_text("full", 1, 2, 3, 4, settings="train.epochs=1"),
    )
    index = read(out / "index.html")
    assert [each.attributes["id"] for each in index.all("section", "board")] == [
        "image-text-mini-bart-mini",
        "image-text-mini-bart-mini-smoke-8",
    ]
    sections = read(out / "methods" / "full.html").all("section", "row")
    assert len({each.attributes["id"] for each in sections}) == len(sections) == 3


def test_published_rows_stand_in_a_table_of_their_own(small: Path) -> None:
    index = read(small / "index.html")
    [section] = index.all("section", id="published")
    assert "Nothing in this section was measured by vlbench" in section.text
    assert [
        each.text for each in section.all("th", "group") if "Run by VL-PET authors." in each.text
    ]
    assert not [table for table in index.all("table", "main") if "VL-PET" in table.text]
    assert "as printed in papers, not measured here" in section.all("caption")[0].text


@pytest.mark.parametrize("text", [SCRIPT, BREAKOUT, "{{ 7 * 7 }}", "javascript:alert(1)"])
def test_text_from_results_is_text(tmp_path: Path, text: str) -> None:
    named = {"title": text, "technique": text, "sharing": text, "settings": text, "device": text}
    rows = image_text(text, 1, 2, 3, 4, **named, code_version=text, versions=text, key="k")
    rows += [row(text, "gqa", 1.0, family=text, majority=2.0, **named, key="k")]
    rows += image_text("full", 1, 2, 3, 4)
    others, mine = rows[-4:], rows[:-4]
    folder = write(tmp_path, mine, others)
    card = {name: text for name in ("title", "source", "published", "prompt", "metric")}
    describe(folder, mine, card={**card, "deviations": [text]})
    words = {"text": text, "prediction": text, "references": json.dumps(text), "family": text}
    predict(folder / "runs" / "k", "gqa", [example(n, **words) for n in range(8)])
    out = tmp_path / "site"
    write_site(boards(folder), folder, out)
    plain = {page.name: read(page) for page in pages(site(tmp_path / "plain", others))}
    for page in pages(out):
        for element in read(page).every():
            assert element.tag != "img" or "charts/" in element.attributes["src"]
            assert element.tag != "script" or not element.text
            assert not [name for name in element.attributes if name.startswith("on")]
            assert not element.attributes.get("href", "").startswith("javascript:")
    for file in (out / "charts").iterdir():
        names = {element.tag.rpartition("}")[2] for element in ElementTree.parse(file).iter()}
        assert not names & {"script", "image", "a", "foreignObject"}
    [hostile] = [
        page for page in pages(out) if page.parent.name == "methods" and page.stem != "full"
    ]
    assert text in read(hostile).text
    assert len(read(out / "tasks" / "gqa.html").all("script")) == len(
        plain["gqa.html"].all("script")
    )


@pytest.mark.parametrize("text", [SCRIPT, "javascript:alert(1)", "https://example.org/x"])
def test_an_address_in_a_card_is_shown_and_is_no_link(tmp_path: Path, text: str) -> None:
    out = site(tmp_path, image_text("full", 1, 2, 3, 4), card={"published": text})
    page = read(out / "tasks" / "gqa.html")
    assert text in page.text
    assert text not in [each.attributes.get("href") for each in page.all("a")]


def test_a_methods_name_leads_to_no_file_outside_and_to_none_of_anothers(tmp_path: Path) -> None:
    names = ("../../x", "/x", "X", "x", "methods/x", "index", "..")
    runs = [image_text(name, n, n, n, n, key=f"run-{n}") for n, name in enumerate(names)]
    out = site(tmp_path, *runs)
    assert len(list((out / "methods").iterdir())) == len(names)
    assert {path.name for path in tmp_path.iterdir()} == {"results", "site"}
    [index] = read(out / "index.html").all("table", "main")
    links = {
        each.all("a")[0].attributes["href"].partition("#")[0]
        for each in index.all("th", scope="row")
    }
    assert len(links) == len(names)


@pytest.mark.parametrize("key", ["../../secret", "/etc", ".."])
def test_a_run_key_that_is_a_path_is_refused(tmp_path: Path, key: str) -> None:
    folder = write(tmp_path, image_text("full", 1, 2, 3, 4))
    [board] = boards(folder)
    hostile = replace(board, runs=[replace(run, key=key) for run in board.runs])
    with pytest.raises(DataError, match="which is a path"):
        write_site([hostile], folder, tmp_path / "out")


def test_spec_card_and_log_of_any_shape_do_no_harm(tmp_path: Path) -> None:
    rows = image_text("full", 1, 2, 3, 4)
    folder = write(tmp_path, rows)
    place = folder / "runs" / rows[0]["key"]
    for spec in (
        {"method": [1], "tasks": {"name": "gqa"}, "settings": "x"},
        {"method": {"params": 3, "train": [1, {"a": 2}], "tuning": "no", "deviations": "one"}},
        {"tasks": [3, {"name": "gqa", "splits": ["a"], "reader": 7, "choices": {"a": 1}}]},
    ):
        (place / "spec.json").write_text(json.dumps(spec))
        (place / "metrics.jsonl").write_text('[1]\n{"step": "a", "loss": {}}\n{"validation": 3}\n')
        predict(place, "gqa", [example(1, images=None, text=None, references=None)])
        told: list[str] = []
        write_site(boards(folder), folder, tmp_path / "out", told.append)
        assert read(tmp_path / "out" / "methods" / "full.html").all("section", "row")
        assert any("metrics.jsonl: line 1: Neither a loss" in text for text in told)


def test_a_torn_log_is_told_and_leaves_the_page_without_a_curve(tmp_path: Path) -> None:
    rows = image_text("full", 1, 2, 3, 4)
    folder = write(tmp_path, rows)
    (folder / "runs" / rows[0]["key"] / "metrics.jsonl").write_text('{"step": 1, "ta')
    told: list[str] = []
    write_site(boards(folder), folder, tmp_path / "out", told.append)
    assert [text for text in told if "metrics.jsonl: line 1: Not JSON" in text]
    assert "Training" not in read(tmp_path / "out" / "methods" / "full.html").text


def test_results_without_anything_beside_them_make_a_site(tmp_path: Path) -> None:
    folder = write(tmp_path, image_text("full", 1, 2, 3, 4))
    write_site(boards(folder), folder, tmp_path / "out")
    assert (
        "The predictions are not at hand." in read(tmp_path / "out" / "methods" / "full.html").text
    )
    assert "The predictions are not at hand." in read(tmp_path / "out" / "tasks" / "gqa.html").text


def test_the_same_results_give_the_same_bytes(small: Path, tmp_path: Path) -> None:
    results = small.parent / "results"
    other = tmp_path / "other"
    write_site(boards(results), results, other)
    for file in small.rglob("*"):
        if file.is_file():
            assert (other / file.relative_to(small)).read_bytes() == file.read_bytes(), file


def test_a_method_that_is_gone_has_no_page_any_more(small: Path, tmp_path: Path) -> None:
    results = small.parent / "results"
    found = boards(results)
    out = shutil.copytree(small, tmp_path / "site")
    without = [replace(b, rows=[r for r in b.rows if r.method != "lora"]) for b in found]
    write_site(without, results, out)
    assert not (out / "methods" / "lora.html").exists()
    assert (out / "methods" / "full.html").exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "results", image_text("full", 1, 2, 3, 4))
    with pytest.raises(UsageError, match="no site of vlbench"):
        write_site(boards(folder), folder, folder)


def test_writing_a_site_imports_no_torch() -> None:
    program = (
        "import sys, vlbench.leaderboard.site\n"
        "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_tables_say_what_their_heads_are(small: Path) -> None:
    for page in pages(small):
        for table in read(page).all("table"):
            assert table.all("caption")[0].text
            scopes = {head.attributes.get("scope") for head in table.all("th")}
            assert scopes <= {"col", "row", "rowgroup"}
            heads = len(table.all("thead")[0].all("th"))
            for line in [each for body in table.all("tbody") for each in body.all("tr")]:
                spans = [int(cell.attributes.get("colspan") or 1) for cell in line.inner]
                assert sum(spans) == heads
        assert read(page).all("html")[0].attributes["lang"] == "en"


def test_every_input_has_a_label(small: Path) -> None:
    index = read(small / "index.html")
    named = {label.attributes.get("for") for label in index.all("label")}
    wrapped = [each for label in index.all("label") for each in label.all("input")]
    for each in [*index.all("input"), *index.all("select")]:
        assert each.attributes.get("id") in named or each in wrapped


def test_predictions_that_are_unreadable_are_told_and_the_rest_is_shown(tmp_path: Path) -> None:
    for number, method in enumerate(("full", "lora", "frozen")):
        rows = image_text(method, 70 - number, 60, 80, 110)
        describe(write(tmp_path / "results", rows), rows)
    spoilt = tmp_path / "results" / "runs" / "lora--mini-0"
    predict(spoilt, "gqa", [example(1), example(2, score=math.nan)])
    said: list[str] = []
    out = tmp_path / "site"
    write_site(boards(tmp_path / "results"), tmp_path / "results", out, say=said.append)
    assert (out / "methods" / "lora.html").is_file() and (out / "tasks" / "gqa.html").is_file()
    assert [text for text in said if "lora--mini-0/predictions/gqa.parquet: column 'score'" in text]
    assert not re.search(r"\bnan\b", (out / "methods" / "lora.html").read_text())
