"""Answers of stored runs to new questions: those of their own tests, and how likely each is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.backbones.families import BY_NAME, write_family
from tests.data.conftest import picture
from tests.runs.builders import Bench, do, predictions
from tests.runs.test_folder import created
from tests.runs.test_spec import METHOD, SPEC
from vlbench.backbones import build_tokenizer
from vlbench.cards import load_task
from vlbench.data.example import Example
from vlbench.data.questions import read_questions, typed_questions
from vlbench.data.readers import load_reader
from vlbench.data.stores.extract import extract
from vlbench.encoders import load_encoder
from vlbench.errors import DataError, MissingError, UsageError
from vlbench.runs.execute import task_data
from vlbench.runs.folder import RunFolder
from vlbench.runs.plan import Selection, plan
from vlbench.runs.predict import predict
from vlbench.runs.spec import RunSpec
from vlbench.runs.trained import find_best_seed, task_named, trained_model, weights_of
from vlbench.training.train import token_losses

Finished = tuple[RunSpec, RunFolder]


def questions_of(run: RunFolder, spec: RunSpec, root: Path, task: str, out: Path) -> list[Example]:
    """The questions of a run's own test, by way of JSON Lines."""
    (card,) = [card for card in spec.tasks if card.name == task]
    reader = load_reader(card.reader, root)
    lines = []
    for row in predictions(run)[task]:
        pictures = [str(reader.image_path(image)) for image in row["images"]]
        lines.append({"id": row["id"], "images": pictures, "text": row["text"]})
    file = out / f"{task}.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_questions(file, card)


@pytest.mark.parametrize("task", ["vqav2", "nlvr2"])
def test_a_run_answers_as_in_its_own_test(
    bench: Bench, finished: Finished, tmp_path: Path, task: str
) -> None:
    spec, run = finished
    (card,) = [card for card in spec.tasks if card.name == task]
    examples = questions_of(run, spec, bench.root, task, tmp_path)
    given, seconds = predict(spec, run.adapter, card, examples)
    own = {row["id"]: row["prediction"] for row in predictions(run)[task]}
    assert {name: scored.answer for name, scored in given.items()} == own
    assert seconds > 0
    for scored in given.values():
        if card.choices:
            assert set(scored.candidates) == set(card.choices)
            assert sum(scored.candidates.values()) == pytest.approx(1, abs=1e-5)
            assert scored.answer == max(scored.candidates, key=scored.candidates.__getitem__)
        else:
            assert list(scored.candidates) == [scored.answer]
            assert 0 <= scored.candidates[scored.answer] <= 1


@pytest.mark.slow
def test_a_run_on_a_chat_model_answers_as_in_its_own_test(bench: Bench, tmp_path: Path) -> None:
    selection = Selection(
        methods=("shared-lora",),
        tasks="vqav2,nlvr2",
        backbone=str(write_family(BY_NAME["llava"], tmp_path / "tiny-llava")),
        root=bench.root,
        settings=("train.epochs=1", "train.batch_size=8", "params.rank=4"),
        limit=8,
    )
    (spec,) = plan(selection)
    run = do(spec, tmp_path)
    for card in spec.tasks:
        examples = questions_of(run, spec, bench.root, card.name, tmp_path)
        given, _ = predict(spec, run.adapter, card, examples)
        own = {row["id"]: row["prediction"] for row in predictions(run)[card.name]}
        assert {name: scored.answer for name, scored in given.items()} == own


def test_a_candidate_s_probability_is_that_of_its_tokens(bench: Bench, finished: Finished) -> None:
    spec, run = finished
    card = spec.tasks[0]
    image = next((bench.root / "COCO" / "images").rglob("*.png"))
    (example,) = typed_questions([image], ["is there a red circle?"], ["yes", "no"], card)
    given, _ = predict(spec, run.adapter, card, [example])
    scored = given["1"]
    assert list(scored.candidates) == list(dict.fromkeys([scored.answer, "yes", "no"]))
    model = trained_model(spec, run.adapter)
    tokenizer = build_tokenizer(spec.backbone_reference, Path(spec.backbone_path))
    store = extract(load_encoder("mini"), {str(image): image})
    data = task_data(model, tokenizer, card, [example], store, spec.method.train)
    for word in ("yes", "no"):
        batch = data.batch([example], [(word, 1.0)])
        with torch.no_grad():
            loss = token_losses(model.label_logits(batch), batch.target_ids).sum()
        assert scored.candidates[word] == pytest.approx(float((-loss).exp()), rel=1e-4)


LINES = {
    "line 1: {folder}/nope.png: no such picture": {"image": "nope.png", "text": "a"},
    "line 2: {folder}/cut.png: not a readable picture": {"image": "cut.png", "text": "a"},
    "line 3: task 'vqav2' answers a text about the picture, and there is none": {"image": "a.png"},
    "line 4: 'image' is missing": {"text": "a"},
    "line 5: should be an object": [1],
    "line 6: images, text, context and candidates": {"image": "a.png", "text": "\ud800"},
    "line 7: 2 pictures, and task 'vqav2' is about 1": {"images": ["a.png"] * 2, "text": "a"},
    "line 8: 'id' should be": {"image": "a.png", "text": "a", "id": 1.5},
    "line 9: 'text' should be a string": {"image": "a.png", "text": 5},
    "line 10: 'image' and 'images': leave one out": {"image": "a.png", "images": [], "text": "a"},
}


def test_every_faulty_line_is_named_before_anything_is_asked(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in LINES.values()) + "{")
    with pytest.raises(DataError) as caught:
        read_questions(file, load_task("vqav2"))
    lines = str(caught.value).splitlines()
    for line, start in zip(lines, LINES, strict=False):
        assert line.startswith(f"{file}: {start.format(folder=tmp_path)}")
    assert lines[10].startswith("... and 1 more")
    same = json.dumps({"image": "a.png", "text": "a", "id": 7}) + "\n"
    for text, words in {same * 2: "line 2: id 7 is there twice", "": "no questions in it"}.items():
        file.write_text(text)
        with pytest.raises(DataError, match=words):
            read_questions(file, load_task("vqav2"))


def typed(images: Sequence[Path], *texts: str, task: str = "vqav2") -> list[Example]:
    return typed_questions(images, texts, (), load_task(task))


def test_each_text_is_asked_of_each_picture_and_a_folder_is_all_of_its_pictures(
    tmp_path: Path,
) -> None:
    for name in ("b.png", "a.png", "below/c.jpg"):
        picture(tmp_path / "pictures" / name)
    folder = tmp_path / "pictures"
    asked = [(Path(e.images[0]).name, e.text) for e in typed([folder], "x?", "y?")]
    assert asked == [(name, text) for name in ("a.png", "b.png", "c.jpg") for text in ("x?", "y?")]
    (pair,) = typed([folder / "a.png", folder / "b.png"], "x", task="nlvr2")
    assert [Path(image).name for image in pair.images] == ["a.png", "b.png"]
    clips = [e.images for e in typed([folder], "x", task="yc2c")]
    assert clips == [(str(folder),), (str(folder / "below"),)]


def test_what_a_task_does_not_take_is_refused(tmp_path: Path) -> None:
    a = picture(tmp_path / "a.png")
    for images, texts, task, words in (
        ([a], (), "vqav2", "--text: task 'vqav2' answers a text about the picture"),
        ([a], ("  ",), "vqav2", "--text   : task 'vqav2' answers a text"),
        ([a], ("x",), "coco", "--text x: task 'coco' takes no text"),
        ([a], ("x",), "nlvr2", "--image: task 'nlvr2' is about 2 pictures at a time, 1 given"),
    ):
        with pytest.raises(UsageError, match=words):
            typed(images, *texts, task=task)
    with pytest.raises(UsageError, match="--candidate yes: task 'nlvr2' has candidates of its own"):
        typed_questions([a, a], ["x"], ["yes"], load_task("nlvr2"))
    with pytest.raises(DataError, match=r"--image: .*nope\.png: no such picture"):
        typed([tmp_path / "nope.png"], "x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match="no picture below it"):
        typed([tmp_path / "empty"], "x")


def with_weights(results: Path, spec: RunSpec, *values: float) -> RunFolder:
    """A trained run whose validation was so after each epoch."""
    folder = created(results, spec)
    folder.adapter.touch()
    name = f"{spec.tasks[0].name}.{spec.tasks[0].main_metric}"
    lines = [{"epoch": n, "validation": {name: value}} for n, value in enumerate(values, 1)]
    folder.curve.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_method_s_name_means_its_best_seed_at_the_end_of_training(tmp_path: Path) -> None:
    seeds = [SPEC.model_copy(update={"seed": seed}) for seed in range(4)]
    with_weights(tmp_path, seeds[0], 10, 99)
    best = with_weights(tmp_path, seeds[1], 98, 99.5)
    with_weights(tmp_path, seeds[2], 100, 50)
    created(tmp_path, seeds[3])  # has no weights
    with_weights(tmp_path, SPEC.model_copy(update={"limit": 9}), 100)
    said: list[str] = []
    name = SPEC.method.name
    assert find_best_seed(tmp_path, name, None, said.append).path == best.path
    assert said == [f"{name}: seed 1 of 0, 1, 2: best on validation, 99.50"]
    assert find_best_seed(tmp_path, f"{name} seed 3", None, print).path.name == seeds[3].key
    halved = METHOD.model_copy(update={"params": {"reduction": 4}})
    settings = ("params.reduction=4",)
    changed = SPEC.model_copy(update={"method": halved, "settings": settings})
    other = SPEC.model_copy(update={"backbone": "other"})
    with_weights(tmp_path, changed, 100)
    assert find_best_seed(tmp_path, name, None, print).path == best.path
    with_weights(tmp_path, other, 100)
    with pytest.raises(UsageError, match=f"'{name}' names 7 runs"):
        find_best_seed(tmp_path, name, None, print)
    with pytest.raises(UsageError, match="No run 'nobody'"):
        find_best_seed(tmp_path, "nobody", None, print)


def test_a_run_without_weights_is_explained(tmp_path: Path) -> None:
    folder = created(tmp_path)
    with pytest.raises(UsageError, match="the run has not trained yet"):
        weights_of(folder, SPEC)
    folder.result.touch()
    with pytest.raises(MissingError, match=r"vlbench run --method mine --tasks .* --seeds 0"):
        weights_of(folder, SPEC)


def test_a_run_of_several_tasks_wants_one_named() -> None:
    assert task_named(["gqa"], None) == "gqa" and task_named(["gqa", "coco"], "coco") == "coco"
    for task in (None, "vqav2"):
        with pytest.raises(UsageError, match="the run has gqa, coco: say which"):
            task_named(["gqa", "coco"], task)
