"""What a model reads of a clip, against the authors' rule, character for character.

`[Subs] {subtitles} [Q] {question} [TS] ({moment}) [Choices] a0: {choice}. ... {prompt}`, of which
TVC has `[TS] ({moment})` alone and YC2C neither: one space before the prompt, one at its end.
"""

from __future__ import annotations

import pytest

from vlbench.cards.load import load_task
from vlbench.cards.schema import TrainSettings
from vlbench.data.batches import TaskData
from vlbench.data.readers import load_reader

SAID = [" Leonard : Hey. ", "it&#39;s me"]
SUBS = "[Subs] Leonard : Hey. it&#39;s me"
CHOICES = {"a0": "Oil. ", "a1": "No", "a2": "3.5 p.m.", "a3": " Two"}
LISTED = "a0: Oil. a1: No. a2: 3.5 p.m. a3: Two."
ASKED = {"q": " What is it? ", "ts": "0-0", "qid": 1, "answer_idx": 1, **CHOICES}
SHOWN = "[Q] What is it? [TS] (0-0) [Choices] " + LISTED
DESCRIBED = {"clip_id": 1, "descs": [{"desc": "x", "desc_id": 1}]}
CASES = {
    "tvqa": ("tvqa_train", {**ASKED, "a4": ".."}, f"{SUBS} {SHOWN} a4: . tvqa: "),
    "how2qa": ("how2qa_train_release", ASKED, f"{SUBS} {SHOWN} how2qa: "),
    "tvc": ("tvc_train_release", {**DESCRIBED, "ts": [1.5, 4]}, f"{SUBS} [TS] ([1.5, 4]) tvc: "),
    "yc2c": ("yc2c_train_release", DESCRIBED, f"{SUBS} yc2c: "),
}


def read(root, task: str, said: list[str]) -> str:
    """The text of the task's one training example, its prompt included."""
    card, (file, record, _) = load_task(task), CASES[task]
    reader = load_reader(card.reader, root.folder)
    sub = [{"text": text} for text in said]
    root.lines(f"video/ann/{reader.source}_subtitles.jsonl", [{"vid_name": "c", "sub": sub}])
    root.lines(f"video/ann/{task}/{file}.jsonl", [{"vid_name": "c", **record}])
    [example] = reader.read_train("train")
    data = TaskData(card, [example], None, None, TrainSettings(task_prompts=True))
    return data.text(example)


@pytest.mark.parametrize("task", CASES)
def test_a_text_is_the_authors_character_for_character(root, task) -> None:
    assert read(root, task, SAID) == CASES[task][2]


@pytest.mark.parametrize("task", CASES)
def test_where_nothing_is_said_two_spaces_stand_as_in_the_authors_texts(root, task) -> None:
    assert read(root, task, []) == CASES[task][2].replace(SUBS, "[Subs] ")
