"""The key says whether two runs are the same run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vlbench.cards.schema import MethodCard, Splits, TaskCard, TrainSettings
from vlbench.errors import DataError
from vlbench.runs.spec import NOT_IN_KEY, RunSpec

METHOD = MethodCard(name="mine", title="Mine", technique="adapter", params={"reduction": 8})
SPLITS = Splits(train=("train",), val=("val",), test=("test",))
TASK = TaskCard(
    name="gqa", title="GQA", reader="gqa", metric="gqa", prompt="gpa: ", splits={"mini": SPLITS}
)
SPEC = RunSpec(
    method=METHOD,
    suite="gqa",
    tasks=(TASK,),
    backbone="mini-bart",
    backbone_hash="b" * 64,
    edition="mini",
    root="somewhere",
    data={"gqa": "d" * 64},
    seed=0,
)


def method(**changes: Any) -> dict[str, Any]:
    return {"method": METHOD.model_copy(update=changes)}


def task(**changes: Any) -> dict[str, Any]:
    return {"tasks": (TASK.model_copy(update=changes),)}


def train(**changes: Any) -> dict[str, Any]:
    return method(train=METHOD.train.model_copy(update=changes))


INFLUENCING = [
    {"seed": 1},
    {"limit": 64},
    {"is_trial": True},
    {"backbone": "clip-bart"},
    {"backbone_hash": "c" * 64},
    {"edition": "full"},
    {"data": {"gqa": "e" * 64}},
    {"suite": "other"},
    {"key_version": 1},
    {"code": {"mine:Mine": "f" * 64}},
    {"init_hash": "a" * 64},
    *(method(name="other"), method(technique="compacter"), method(sharing="task")),
    *(method(params={"reduction": 4}), task(name="other"), task(prompt="gqa: ")),
    *(task(prompt_position="end"), task(max_input_tokens=7), task(loss="per-token")),
    *(task(beams=5), task(metric="vqa")),
    task(splits={"mini": SPLITS.model_copy(update={"test": ("val",)})}),
    {"tasks": (TASK, TASK)},
    {"encoder": "clip-vit-b32"},
    task(submission="value-answers"),
    task(splits={"mini": SPLITS.model_copy(update={"submission": ("test",)})}),
]
OTHER_VALUES = {
    "learning_rate": 0.5,
    "epochs": 7,
    "batch_size": 7,
    "warmup_ratio": 0.5,
    "weight_decay": 0.5,
    "clip_norm": 0.5,
    "dropout": 0.5,
    "optimiser": "adamw",
    "task_prompts": False,
    "truncate": "subtitles",
    "norms": False,
    "blind": True,
    "precision": "bf16",
    "order": "lengths",
    "share_encoder": True,
    "projector": False,
    "weights": "bf16",
}
NEUTRAL = [
    {"root": "elsewhere"},
    {"device": "cuda:1"},
    {"settings": ("train.epochs=20",)},
    {"method_file": "mine.toml"},
    {"backbone_path": "weights"},
    {"backbone_file": "mine.toml"},
    {"init": "weights.safetensors"},
    method(title="Another title"),
    method(source="A paper", aliases=("other",), deviations=("None.",)),
    task(title="Another title", deviations=("None.",)),
    task(published="https://example.org", sizes={"train": 3}),
    {"features": ("store",)},
    {"max_batch": 8},
    {"max_batch": "auto"},
    {"checkpoint_activations": True},
]


@pytest.mark.parametrize("changes", INFLUENCING, ids=str)
def test_what_can_change_a_result_changes_the_key(changes: dict[str, Any]) -> None:
    assert SPEC.model_copy(update=changes).key != SPEC.key


@pytest.mark.parametrize("name", TrainSettings.model_fields)
def test_every_training_setting_changes_the_key(name: str) -> None:
    assert SPEC.model_copy(update=train(**{name: OTHER_VALUES[name]})).key != SPEC.key


@pytest.mark.parametrize("changes", NEUTRAL, ids=str)
def test_what_cannot_change_a_result_leaves_the_key(changes: dict[str, Any]) -> None:
    assert SPEC.model_copy(update=changes).key == SPEC.key


def test_every_field_is_in_one_of_the_two_lists() -> None:
    named = {name for changes in [*INFLUENCING, *NEUTRAL] for name in changes}
    assert named == set(RunSpec.model_fields)
    assert set(NOT_IN_KEY) <= set(RunSpec.model_fields)


def test_the_key_of_a_given_spec_never_changes_by_accident() -> None:
    # Another key here means that nobody's finished runs are found again: raise KEY_VERSION then.
    assert SPEC.key == "626f8bfcd2f54a96"


def test_a_spec_is_read_back_as_it_was_written_with_its_code_beside_its_card(
    tmp_path: Path,
) -> None:
    file = tmp_path / "spec.json"
    spec = SPEC.model_copy(update={"method_file": str(tmp_path / "mine.toml")})
    file.write_text(spec.to_json(), encoding="utf-8")
    assert RunSpec.read(file).to_json() == spec.to_json()
    assert RunSpec.read(file).key == SPEC.key == json.loads(file.read_text())["key"]
    assert RunSpec.read(file).method.folder == tmp_path


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"key": 1, "schema": 2}', SPEC.to_json().replace("spec/1", "spec/2")]
)
def test_what_is_no_spec_is_refused_by_its_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "spec.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"spec\.json: not a run's spec"):
        RunSpec.read(file)


def test_a_changed_spec_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    file.write_text(SPEC.to_json().replace('"seed": 0', '"seed": 1'), encoding="utf-8")
    with pytest.raises(DataError, match="the spec was changed: its key is"):
        RunSpec.read(file)
