"""Your own data on the command line: checked, previewed, trained on alone and with others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.backbones.families import BY_NAME, write_family
from tests.cli.command import assert_refused, items, vlbench
from tests.data.readers.own_data import FORMATS, records, write_records, write_set
from tests.runs.builders import Bench, do, predictions, rows
from vlbench.cards import find_tasks
from vlbench.runs.plan import Selection, plan


def test_check_counts_and_says_what_the_majority_answer_has(tmp_path: Path, bench: Bench) -> None:
    card = write_set(tmp_path / "set", "jsonl")
    result = vlbench("data", "check", "--tasks", card)
    assert result.exit_code == 0, result.stderr
    lines = [line.split()[:5] for line in result.stdout.splitlines()[1:]]
    assert lines[2] == ["colours", "test", "6", "-", "6"]
    assert "colours test: always 'blue', the majority answer, has accuracy 33.3" in result.stderr
    assert "not read" not in result.stderr and "shares" not in result.stderr


def test_check_tells_of_keys_that_nothing_reads_and_of_shared_pictures_that_are_meant(
    tmp_path: Path, bench: Bench
) -> None:
    card, test = write_set(tmp_path / "set", "jsonl"), tmp_path / "set/test"
    card.write_text(f"{card.read_text()}\nmay_share_pictures = true")
    (test / "copy.png").write_bytes((tmp_path / "set/train/3.png").read_bytes())
    write_records(test, "jsonl", [*records("test"), {**records("test")[0], "id": "x"}])
    write_records(test, "jsonl", [{"image": "copy.png", "query": "?", "answer": "red"}])
    result = vlbench("data", "check", "--tasks", card, "--json")
    assert result.exit_code == 0, result.stderr
    train, _, last = items(result, "check")
    assert train["remarks"][1:] == []
    assert last["majority"] == {"answer": "blue", "accuracy": 0.0}
    shared, _, unread = last["remarks"]
    same = "train/3.png = test/copy.png (train, test)"
    assert shared == f"the same picture is in two splits: {same}"
    assert unread == "keys that are not read: query (1 records)"


def test_check_names_the_line_of_a_picture_that_is_missing_or_cut(
    tmp_path: Path, bench: Bench
) -> None:
    card = write_set(tmp_path / "set", "csv")
    cut = tmp_path / "set/train/1.png"
    cut.write_bytes(cut.read_bytes()[:40])
    (tmp_path / "set/val/2.png").unlink()
    (tmp_path / "set/test/data.csv").write_text("image,answer\n")
    result = vlbench("data", "check", "--tasks", card)
    assert result.exit_code == 3
    folder = tmp_path / "set"
    for text in (
        rf"train: {cut}: not a readable picture: .* \(named in {folder}/train/data.csv: line 3\)",
        rf"val: {folder}/val/2.png: no such picture \(wanted by {folder}/val/data.csv: line 4\)",
        rf"test: {folder}/test/data.csv: no example of the split 'test'",
    ):
        assert re.search(text, result.stderr), result.stderr


def test_check_and_plan_name_the_card_whose_metric_is_unknown(tmp_path: Path) -> None:
    card = write_set(tmp_path / "set", "jsonl", metric="acuracy")
    text = f"{card}: metric: Unknown metric 'acuracy'. Did you mean 'accuracy'"
    assert_refused(vlbench("data", "check", "--tasks", card), 2, text)
    assert_refused(vlbench("plan", "--method", "frozen", "--tasks", card), 2, text)


def test_a_store_by_path_holds_pictures_that_share_a_name(tmp_path: Path, bench: Bench) -> None:
    card, store = write_set(tmp_path / "set", "jsonl"), tmp_path / "store"
    places = ("--encoder", "mini", "--images", tmp_path / "set", "--out", store)
    result = vlbench("data", "extract-features", *places)
    assert_refused(result, 3, "both would be '0' in the store. With --by-path")
    result = vlbench("data", "extract-features", *places, "--by-path")
    assert result.exit_code == 0, result.stderr
    for split in ("train", "val", "test"):
        (tmp_path / "set" / split / "0.png").unlink()
    result = vlbench("data", "check", "--tasks", card, "--features", store, "--json")
    assert result.exit_code == 0, result.stderr
    assert {item["features"] for item in items(result, "check")} == {str(store)}


def test_preview_shows_pictures_text_and_target_and_runs_nothing(
    tmp_path: Path, bench: Bench
) -> None:
    card = write_set(tmp_path / "set", "jsonl", prompt="colours: ", max_input_tokens=12)
    evil = {"id": "<script>", "image": "0.png", "question": "<b>", "answer": "<i>\u202e"}
    write_records(tmp_path / "set/train", "jsonl", [evil])
    out = tmp_path / "page.html"
    words = ("--backbone-path", bench.backbone, "--examples", "2")
    result = vlbench("data", "preview", card, "--out", out, *words)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n"), result.stderr
    page = out.read_text("utf-8")
    assert page.count('<img src="data:image/webp;base64,') == 1 + 2 + 2
    assert not {"<script>", "<b>", "<i>"} & set(re.findall("<[^>]*>", page))
    assert "<h3>&lt;script&gt;</h3>" in page and "colours:" in page
    assert "\u202e" not in page and "[U+202E]" in page
    assert "train: 1 of 1 examples" in page and "val: 2 of 6 examples" in page
    assert f"{tmp_path}/set/val/data.jsonl: line 2" in page
    assert_refused(vlbench("data", "preview", card, "--out", tmp_path), 2, "--out")
    (tmp_path / "set/val/1.png").unlink()
    assert_refused(vlbench("data", "preview", card, "--out", out), 3, "1.png: no such picture")


def test_preview_for_a_chat_model_shows_its_template(tmp_path: Path, bench: Bench) -> None:
    card = write_set(tmp_path / "set", "llava", question="{text}\nIn a word.", max_target_tokens=3)
    model, out = write_family(BY_NAME["llava"], tmp_path / "tiny-llava"), tmp_path / "page.html"
    result = vlbench("data", "preview", card, "--out", out, "--backbone", model, "--examples", "1")
    assert result.exit_code == 0, result.stderr
    assert re.search(r"<pre>.*&lt;image&gt;.*colour.*\nIn a word\..*</pre>", out.read_text(), re.S)


def test_a_picture_in_two_splits_stops_a_run_unless_the_card_says_that_it_is_meant(
    tmp_path: Path, bench: Bench
) -> None:
    card = write_set(tmp_path / "set", "jsonl")
    (tmp_path / "set/val/5.png").write_bytes((tmp_path / "set/test/2.png").read_bytes())
    shared = [{**records("test")[0], "image": "../train/0.png"}, *records("test")[1:]]
    write_records(tmp_path / "set/test", "jsonl", shared)
    words = ("--method", "frozen", "--tasks", card, "--devices", "cpu")
    words += ("--backbone-path", bench.backbone, "--limit", "1")
    texts = "train/0.png (train, test)", "val/5.png = test/2.png (val, test)"
    refusal = f"{card}: the same picture is in two splits: {'; '.join(texts)}: leave it out of one"
    assert_refused(vlbench("plan", *words), 3, refusal)
    result = vlbench("data", "check", "--tasks", card)
    assert result.exit_code == 3
    for text in texts:
        assert f"colours test: the same picture is in two splits: {text}" in result.stderr
    card.write_text(f"{card.read_text()}\nmay_share_pictures = true")
    result = vlbench("plan", *words)
    assert result.exit_code == 0, result.stderr


def test_a_suite_of_your_own_has_its_name_and_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b", "a"):
        write_set(tmp_path / name, "csv").rename(tmp_path / name / f"{name}.toml")
    suite = tmp_path / "shop.toml"
    suite.write_text('title = "Shop"\ntasks = ["./b/b.toml", "a/a.toml"]\n')
    monkeypatch.chdir(tmp_path / "a")
    name, cards = find_tasks("../shop.toml")
    assert (name, [card.name for card in cards]) == ("shop", ["b", "a"])
    assert find_tasks("../shop.toml,easy-vqa")[0] == "a+b+easy-vqa"
    assert '"kind": "suite"' in vlbench("show", str(suite), "--json").stdout
    suite.write_text('title = "Shop"\ntasks = []\nsplits = 1\n')
    result = vlbench("data", "check", "--tasks", suite)
    assert_refused(result, 2, f"{suite}: tasks: ", f"{suite}: splits: Unknown key 'splits'")
    suite.rename(tmp_path / "image-text.toml").write_text('title = "S"\ntasks = ["a/a.toml"]\n')
    result = vlbench("data", "check", "--tasks", tmp_path / "image-text.toml")
    assert_refused(result, 2, "'image-text' is the name of another suite")


@pytest.mark.slow
def test_four_formats_give_the_same_numbers_for_one_seed(tmp_path: Path, bench: Bench) -> None:
    given = []
    for name in FORMATS:
        card = write_set(tmp_path / name, name)
        selection = Selection(
            methods=("shared-adapter",),
            tasks=str(card),
            backbone_path=bench.backbone,
            settings=("train.epochs=1", "train.batch_size=4"),
        )
        [spec] = plan(selection)
        folder = do(spec, tmp_path / "results")
        own = ("key", "data_fingerprint", "card_hash", "adapter_bytes")
        values = [{k: v for k, v in row.items() if k not in own} for row in rows(folder)]
        given.append((values, predictions(folder)))
    assert given[1:] == given[:1] * 3
    assert given[0][0][0]["metric"] == "colours.accuracy"
    assert given[0][0][0]["majority"] == pytest.approx(100 / 3)
