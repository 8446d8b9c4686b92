from __future__ import annotations

import json
import math
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from vlbench.errors import DataError, JavaFailed, MissingError, RunFailed
from vlbench.metrics import captions, java, started_ahead

Golden = Callable[[str], Any]
FOLDER = "metrics/coco_caption"
SETS = ("setA_80x5", "setB_edge", "setD_one_image", "setE_60x1ref")
NAMES = {"CIDEr": "cider", "ROUGE_L": "rouge_l"} | {f"Bleu_{n}": f"bleu_{n}" for n in range(1, 5)}


@pytest.fixture(scope="module", autouse=True)
def needs_java() -> None:
    try:
        java.require_java()
    except MissingError as error:
        pytest.skip(str(error))


def test_a_perfect_caption_scores_full_marks_and_a_wrong_one_nothing() -> None:
    annotations = {
        "1": {"captions": ["A red cup stands on the table.", "A cup."]},
        "2": {"captions": ["Two small dogs run very fast."]},
    }
    scored = captions.score_without_meteor(
        annotations, {"1": "xyz", "2": "two small dogs run very fast"}
    )
    assert scored.per_example == pytest.approx({"1": 0, "2": 10})
    # CIDEr: the mean of 0 and 10, x 100. BLEU-1: 6 of 7 words right, one less than the nearest
    # references have (2 + 6).
    assert scored.metrics["cider"] == pytest.approx(500)
    assert scored.metrics["rouge_l"] == pytest.approx(50)
    assert scored.metrics["bleu_1"] == pytest.approx(100 * 6 / 7 * math.exp(1 - 8 / 7))
    assert "meteor" not in scored.metrics


def test_tokens_are_those_of_the_penn_treebank_without_punctuation() -> None:
    text = "The man's dog (brown) can't \"wait\"... cannot, it?"
    assert captions.tokenize([text, "", "\U0001f436!"]) == [
        "the man 's dog -lrb- brown -rrb- ca n't wait can not it",
        "",
        "",
    ]


@pytest.mark.parametrize("character", ["\r", "\r\n", "\v", "\f", "\u2028", "\u2029", "\u0085"])
def test_no_character_shifts_later_captions_to_another_image(character: str) -> None:
    texts = [f"first{character}part", "second caption", "", "last one"]
    assert captions.tokenize(texts) == ["first part", "second caption", "", "last one"]


def test_space_that_ends_no_line_stays_as_it_changes_tokens() -> None:
    texts = ["5 1/2 dogs", "5\u00a01/2 dogs", "5\t1/2 dogs", "5\u30001/2 dogs"]
    glued = "5\u00a01/2 dogs"
    assert captions.tokenize(texts) == [glued, glued, "5 1/2 dogs", "5 1/2 dogs"]


def test_half_a_surrogate_is_scored_like_any_other_text() -> None:
    assert captions.tokenize(["a \ud83d dog", "b"]) == ["a dog", "b"]


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    annotations = {"1": {"captions": ["a dog \U0001f436"]}, "2": {"captions": ["a cat"]}}
    captions.score_without_meteor(annotations, {"1": "a dog", "2": "|||"})
    assert capfd.readouterr() == ("", "")


def test_a_faulty_image_is_named() -> None:
    with pytest.raises(DataError, match="Image 5: the annotation has no captions"):
        captions.score({"5": {"captions": []}}, {"5": "a dog"})
    with pytest.raises(DataError, match="No prediction for 1 of 1 examples: 5"):
        captions.score({"5": {"captions": ["a dog"]}}, {})
    with pytest.raises(DataError, match="No reference caption holds a word"):
        captions.score_without_meteor({"5": {"captions": ["...", "?"]}}, {"5": "a dog"})


def golden_set(golden: Golden, name: str) -> tuple[dict[str, list[str]], dict[str, str]]:
    references: dict[str, list[str]] = {}
    for record in golden(f"{FOLDER}/{name}_annotations.json")["annotations"]:
        references.setdefault(str(record["image_id"]), []).append(record["caption"])
    results = golden(f"{FOLDER}/{name}_results.json")
    return references, {str(record["image_id"]): record["caption"] for record in results}


def golden_clips(golden: Golden) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    folder = "metrics/value/yc2c/yc2c_val"
    gold = {
        str(clip["clip_id"]): {"captions": [each["desc"] for each in clip["descs"]]}
        for clip in golden(f"{folder}_release.jsonl")
    }
    results = golden(f"{folder}_predictions.jsonl")
    return gold, {str(clip["clip_id"]): clip["descs"][0]["desc"] for clip in results}


def per_image(expected: Any, metric: str) -> dict[str, float]:
    return {image: values[metric] for image, values in expected["per_image"].items()}


@pytest.mark.parametrize("name", SETS)
def test_every_golden_set_has_the_official_tokens_and_scores(golden: Golden, name: str) -> None:
    references, candidates = golden_set(golden, name)
    tokens = golden(f"{FOLDER}/{name}_tokens.json")
    assert captions.prepare(references).tokens == tokens["gts"]
    predicted = captions.tokenize(candidates[image] for image in references)
    assert {image: [text] for image, text in zip(references, predicted, strict=True)} == tokens[
        "res"
    ]
    expected = golden(f"{FOLDER}/{name}_expected.json")
    found = captions.evaluate(references, candidates, meteor=False)
    for official, ours in NAMES.items():
        overall = expected["overall"][official]
        assert found.overall[ours] == pytest.approx(overall, abs=1e-9)
        assert found.per_image[ours] == pytest.approx(per_image(expected, official), abs=1e-9)


def test_every_golden_set_has_the_official_meteor(
    golden: Golden, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with captions.running_meteor() as scorer:
        for name in SETS:
            tokens = golden(f"{FOLDER}/{name}_tokens.json")
            expected = golden(f"{FOLDER}/{name}_expected.json")
            overall, scores = scorer.compute_score(tokens["gts"], tokens["res"])
            assert overall == pytest.approx(expected["overall"]["METEOR"], abs=1e-6)
            found = dict(zip(tokens["gts"], scores, strict=True))
            assert found == pytest.approx(per_image(expected, "METEOR"), abs=1e-6)
        monkeypatch.setattr(captions, "running_meteor", lambda: nullcontext(scorer))
        expected = golden("metrics/value/yc2c/expected.json")["official_value"]
        found = captions.score_value(*golden_clips(golden)).metrics
        for official, value in expected.items():
            assert round(found[official.lower()], 2) == value
    assert capfd.readouterr() == ("", "")


def test_golden_quirks_of_the_tokenizer_are_kept(golden: Golden) -> None:
    cases = golden("metrics/coco_caption/ptb_quirks.json")["strings"]
    assert captions.tokenize(case["in"] for case in cases) == [case["out"] for case in cases]


def test_a_java_that_dies_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "java"
    fake.write_text("#!/bin/sh\n[ \"$1\" = -version ] && exit 0\necho 'no memory' >&2\nexit 1\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(JavaFailed, match=r"PTBTokenizer's Java ended with 1: no memory"):
        captions.tokenize(["a dog"])
    failure = pytest.raises(JavaFailed, match="METEOR's Java ended with 1: no memory")
    with failure as failed, captions.running_meteor() as scorer:
        scorer.compute_score({"1": ["a dog"]}, {"1": ["a dog"]})
    assert failed.value.exit_code == 3


def test_a_meteor_that_is_killed_while_it_scores_is_told_by_its_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(captions, "java_command", lambda *_: ["sh", "-c", "read line; kill -9 $$"])
    failure = pytest.raises(JavaFailed, match=r"METEOR's Java was killed by SIGKILL\. .*memory")
    with failure, captions.running_meteor() as scorer:
        scorer.compute_score({"1": ["a dog"]}, {"1": ["a dog"]})


LOCALES = {
    "JAVA_TOOL_OPTIONS": "-Duser.language=tr -Duser.country=TR",
    "JDK_JAVA_OPTIONS": "-Duser.language.format=ar -Duser.extensions=u-nu-arab",
    "_JAVA_OPTIONS": "-Duser.language=tr",
    "LC_ALL": "tr_TR.UTF-8",
}
"""Turkish has another small letter for I, and commas in decimals."""


@pytest.mark.parametrize("name", LOCALES)
def test_tokens_are_the_same_in_every_locale(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, LOCALES[name])
    assert captions.tokenize(["IT IS IN ISTANBUL \u00c4"]) == ["it is in istanbul \u00e4"]


def test_scores_are_the_same_in_every_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LOCALES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("vlbench.metrics.captions._recent", {})
    gold = {"5": ["A dog in ISTANBUL."], "6": ["Cats INSIDE", "1.5 cats"]}
    texts = {"5": "A dog IN Istanbul grass", "6": "two cats inside"}
    found = captions.evaluate(gold, texts).overall
    assert found["meteor"] == pytest.approx(0.4970528000831549, abs=1e-6)
    assert found["rouge_l"] == pytest.approx(0.8684975849075688, abs=1e-9)


def test_all_metrics_come_together(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stub:
        def compute_score(self, gold: Any, predicted: Any) -> tuple[float, list[float]]:
            return 0.25, [0.25 for _ in gold]

    monkeypatch.setattr(captions, "running_meteor", lambda: nullcontext(Stub()))
    scored = captions.score({"1": {"captions": ["a dog"]}}, {"1": "a dog"})
    assert scored.metrics["meteor"] == 25
    assert set(scored.metrics) == {*NAMES.values(), "meteor"}


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """When a METEOR that does nothing was started and ended."""
    noted: list[str] = []

    @contextmanager
    def running() -> Iterator[object]:
        noted.append("started")
        yield object()
        noted.append("ended")

    monkeypatch.setattr(captions, "running_meteor", running)
    return noted


def test_within_a_block_evaluations_share_one_meteor(events: list[str]) -> None:
    with captions.one_meteor():
        assert events == []
        with captions._meteor() as first, captions._meteor() as second:
            assert first is second
        assert events == ["started"]
    assert events == ["started", "ended"]
    with captions._meteor() as alone:
        assert alone is not first
    assert events == ["started", "ended"] * 2


def test_meteor_can_start_ahead_once_for_all_metrics_that_need_it(events: list[str]) -> None:
    with started_ahead(["vqa", "value-captions", "captions", "mine:metric"]):
        assert events == ["started"]
        with captions._meteor() as first, captions._meteor() as second:
            assert first is second
    assert events == ["started", "ended"]
    with started_ahead(["vqa", "gqa"]):
        assert events == ["started", "ended"]


SPICE_REFERENCES = {"1": ["A dog."], "2": ["a cat"]}
SPICE_CANDIDATES = {"2": "a mat", "1": "the dog"}
SPICE_RESULT = [
    {"image_id": image, "scores": {"All": {"f": value}}} for image, value in [("2", 0), ("1", 1)]
]


@pytest.fixture
def spice_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Java that answers with a file, and models that are there; its own words are noted."""
    monkeypatch.setattr(captions, "tokenize", list)
    monkeypatch.setattr(captions, "_recent", {})
    folder = tmp_path / "spice"
    (folder / "lib").mkdir(parents=True)
    for name in captions.SPICE_MODELS:
        (folder / "lib" / name).write_text("")
    monkeypatch.setattr(captions, "SPICE_FOLDER", folder)
    program = tmp_path / "java"
    program.write_text(
        f'#!/bin/sh\nshift {len(java.LOCALE)}\necho "$JDK_JAVA_OPTIONS" > {tmp_path}/options\n'
        f'cp "$4" {tmp_path}/given\n'
        f'while [ "$1" != -out ]; do shift; done\ncp {tmp_path}/result "$2" || exit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr("vlbench.metrics.java.require_java", lambda: str(program))
    return tmp_path


def test_the_jar_gets_tokens_and_its_scores_are_told_by_image(spice_java: Path) -> None:
    (spice_java / "result").write_text(json.dumps(SPICE_RESULT))
    assert captions.spice(SPICE_REFERENCES, SPICE_CANDIDATES) == {"1": 1, "2": 0}
    given = json.loads((spice_java / "given").read_text())
    assert given[0] == {"image_id": "1", "test": "the dog", "refs": ["A dog."]}
    assert (spice_java / "options").read_text().strip() == captions.SPICE_OPEN


def test_a_java_that_fails_is_told(spice_java: Path) -> None:
    with pytest.raises(RunFailed, match=r"SPICE's Java ended with 1: .*result"):
        captions.spice(SPICE_REFERENCES, SPICE_CANDIDATES)


def test_an_image_without_a_score_is_named(spice_java: Path) -> None:
    without = [*SPICE_RESULT[:1], {"image_id": "1", "scores": {"All": {"f": None}}}]
    (spice_java / "result").write_text(json.dumps(without))
    with pytest.raises(RunFailed, match="no score for image 1"):
        captions.spice(SPICE_REFERENCES, SPICE_CANDIDATES)


def test_without_its_models_nothing_is_downloaded(spice_java: Path) -> None:
    (captions.SPICE_FOLDER / "lib" / captions.SPICE_MODELS[1]).unlink()
    with pytest.raises(MissingError, match=r"not available: .*-3\.6\.0-models\.jar"):
        captions.spice(SPICE_REFERENCES, SPICE_CANDIDATES)
