from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.metrics.test_java import LOCALES
from vlbench.errors import DataError, MissingError
from vlbench.metrics import captions, java

Golden = Callable[[str], Any]
Tokens = dict[str, list[str]]
FOLDER = "metrics/coco_caption"
SETS = (
    pytest.param("setA_80x5", marks=pytest.mark.slow),
    "setB_edge",
    "setD_one_image",
    "setE_60x1ref",
)
NAMES = {"CIDEr": "cider", "ROUGE_L": "rouge_l"} | {f"Bleu_{n}": f"bleu_{n}" for n in range(1, 5)}


@pytest.fixture(scope="module")
def meteor() -> Iterator[java.Meteor]:
    """One METEOR for all of these tests, under the settings of a Turkish user."""
    try:
        java.require_java()
    except MissingError as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in LOCALES.items():
            patch.setenv(name, value)
        with java.one_meteor(at_once=True) as shared:
            yield shared


@pytest.mark.usefixtures("meteor")
@pytest.mark.parametrize("name", SETS)
def test_every_golden_set_has_the_official_tokens_and_scores(
    golden: Golden, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    references: dict[str, list[str]] = {}
    for record in golden(f"{FOLDER}/{name}_annotations.json")["annotations"]:
        references.setdefault(str(record["image_id"]), []).append(record["caption"])
    results = golden(f"{FOLDER}/{name}_results.json")
    candidates = {str(record["image_id"]): record["caption"] for record in results}
    tokens = golden(f"{FOLDER}/{name}_tokens.json")
    assert prepare(references).tokens == [tokens["gts"][image] for image in references]
    predicted = java.tokenize(candidates[image] for image in references)
    assert [[text] for text in predicted] == [tokens["res"][image] for image in references]
    scored = captions.evaluate(references, candidates)
    expected = golden(f"{FOLDER}/{name}_expected.json")
    for official, ours in {**NAMES, "METEOR": "meteor"}.items():
        exact = 1e-6 if ours == "meteor" else 1e-9
        overall = expected["overall"][official]
        assert scored.metrics[ours] / 100 == pytest.approx(overall, abs=exact)
        per_image = {image: row[official] for image, row in expected["per_image"].items()}
        assert scored.per_metric[ours] == pytest.approx(per_image, abs=exact)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("meteor")
def test_golden_captions_of_value_score_as_officially(golden: Golden) -> None:
    folder = "metrics/value/yc2c/yc2c_val"
    gold = {
        str(clip["clip_id"]): {"captions": [text["desc"] for text in clip["descs"]]}
        for clip in golden(f"{folder}_release.jsonl")
    }
    results = golden(f"{folder}_predictions.jsonl")
    texts = {str(clip["clip_id"]): clip["descs"][0]["desc"] for clip in results}
    metrics = captions.score_value(gold, texts).metrics
    for official, value in golden("metrics/value/yc2c/expected.json")["official_value"].items():
        assert round(metrics[official.lower()], 2) == value


def test_every_image_scores_as_officially_to_the_last_bit() -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    draw = random.Random(0)

    def text() -> str:
        words = draw.choices(["a", "dog", "cat", "on", "the", "red\xa0mat", "runs"], k=12)
        return " ".join(words[: draw.choice([0, 1, 2, 3, 5, 8, 12])])

    gold = {str(image): [text() for _ in range(draw.randint(1, 6))] for image in range(200)}
    texts = [draw.choice([text(), references[0]]) for references in gold.values()]
    predicted = {image: [text] for image, text in zip(gold, texts, strict=True)}
    scores = captions.References([*gold.values()]).score(texts)
    for name, official in (("cider", Cider()), ("rouge_l", Rouge())):
        overall, per_image = official.compute_score(gold, predicted)
        assert scores[name] == (overall, list(per_image))
    overall, per_image = Bleu(4).compute_score(gold, predicted, verbose=0)
    assert [scores[f"bleu_{n}"] for n in (1, 2, 3, 4)] == [*zip(overall, per_image, strict=True)]
    assert 0 < scores["cider"][0] < 10


def test_a_faulty_image_is_named(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="Image 5: the annotation has no captions"):
        captions.score({"5": {"captions": []}}, {"5": "a dog"})
    with pytest.raises(DataError, match="No prediction for 1 of 1 examples: 5"):
        captions.score({"5": {"captions": ["a dog"]}}, {})


def test_value_captions_are_scored_in_ascii(tokenizer: Tokenizer) -> None:
    gold = {"3": {"captions": ["caf\u00e9 \u2028x", "\U0001f436!"]}}
    captions.score_value_without_meteor(gold, {"3": "\u00e9t\u00e9"})
    assert tokenizer.calls == [["caf   x", " !"], [" t "]]


REFERENCES = {"1": ["A red cup.", "a cup"], "2": ["Two dogs run."]}
CANDIDATES = {"1": "a red cup", "2": "a dog runs"}


class Tokenizer:
    """In place of Java: splits at spaces, and remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: Iterable[str]) -> list[str]:
        self.calls.append(list(texts))
        return [text.lower().rstrip(".") for text in self.calls[-1]]


@pytest.fixture
def tokenizer(monkeypatch: pytest.MonkeyPatch) -> Tokenizer:
    stub = Tokenizer()
    monkeypatch.setattr(captions, "tokenize", stub)
    captions.prepare.cache_clear()
    return stub


def prepare(references: dict[str, list[str]]) -> captions.References:
    return captions.prepare(tuple(map(tuple, references.values())))


def test_references_are_tokenized_once_and_predictions_each_time(tokenizer: Tokenizer) -> None:
    first, again = (
        captions.evaluate(REFERENCES, CANDIDATES, meteor=False).metrics for _ in range(2)
    )
    assert first == again
    assert tokenizer.calls[1:] == [list(CANDIDATES.values())] * 2
    prepare({"1": ["A red cup."], "2": ["a cup", "Two dogs run."]})  # same texts, other images
    assert len(tokenizer.calls) == 4
