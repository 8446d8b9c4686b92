"""Pretraining teaches no task's sentence and no task's answer."""

from __future__ import annotations

from itertools import islice
from random import Random

from tools.pretrain.clip_backbone import STYLE
from tools.pretrain.clip_lessons import clip_lesson
from tools.pretrain.lessons import Lesson, lesson, long_lesson
from tools.pretrain.pair_lessons import pair_lesson
from vlbench.data.mini.captions import captions
from vlbench.data.mini.clips import HOW2QA_FAMILIES, TVQA_FAMILIES, clips, describe, steps
from vlbench.data.mini.clips import ask as ask_clip
from vlbench.data.mini.questions import GQA_FAMILIES, VQA_FAMILIES, Balance, ask
from vlbench.data.mini.statements import statement
from vlbench.data.mini.world import scenes


def test_no_task_sentence_is_a_lesson_and_only_digits_are_both_answers_and_replies() -> None:
    random = Random(6)
    shown = list(islice(scenes("pretraining", random), 500))
    lessons: list[Lesson] = [
        teach(scene, random) for scene in shown for teach in (lesson, long_lesson)
    ]
    lessons += [pair_lesson((scene, random.choice(shown)), random) for scene in shown]
    balance, sentences, answers = Balance(), set(), set()
    for scene in shown:
        for question in ask(scene, VQA_FAMILIES + GQA_FAMILIES, 11, balance, random):
            sentences.add(question.text.lower())
            answers.add(question.answer)
        sentences |= {caption.lower() for caption in captions(scene, random)}
        sentences.add(statement(random).text.lower())
    assert not sentences & {taught.text.lower() for taught in lessons}
    replies = {taught.reply.lower() for taught in lessons}
    assert not replies & (sentences | {"true", "false"})
    assert replies & answers <= set("12345")


def test_no_lesson_about_clips_asks_or_answers_as_a_task_does() -> None:
    random = Random(1)
    tasks: set[str] = set()
    for clip in islice(clips("train", random, STYLE), 200):
        for families, choices in ((TVQA_FAMILIES, 5), (HOW2QA_FAMILIES, 4)):
            tasks |= {asked.text for asked in ask_clip(clip, families, 5, choices, random)}
        tasks |= {steps(clip, random), *describe(clip, clip.shots[0], 3, random)}
    for clip in islice(clips("pretraining", random, STYLE), 400):
        taught = clip_lesson(clip, random)
        if taught.skill != "repair":  # reads them, and never with an answer
            assert taught.text not in tasks and taught.reply not in tasks
        assert not taught.reply.startswith("a0")
