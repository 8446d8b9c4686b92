from __future__ import annotations

from collections import Counter
from random import Random

from tests.data.mini.oracle import GQA, NUMBERS, VQA, read
from vlbench.data.mini.pictures import (
    ANSWER_TYPES,
    GQA_FAMILIES,
    GQA_TYPES,
    Balance,
    Question,
    annotators,
    ask,
)
from vlbench.data.mini.world import scenes


def test_every_vqa_question_has_the_answer_that_its_words_have_in_its_picture(edition) -> None:
    families = Counter()
    for example in edition.all("vqav2"):
        [scene] = edition.scenes_of(example)
        family, answer = read(VQA, example.text, scene)
        assert family == example.family
        assert example.targets[answer] == max(example.targets.values()), example.text
        families[family] += 1
    assert families.keys() == ANSWER_TYPES.keys() and min(families.values()) > 1000


def test_every_gqa_question_has_the_answer_that_its_words_have_in_its_picture(edition) -> None:
    families = Counter()
    for example in edition.all("gqa"):
        [scene] = edition.scenes_of(example)
        found = read(GQA, example.text, scene)
        assert found == (example.family, example.annotation["answer"]), example.text
        families[found.family] += 1
    assert families.keys() == GQA_TYPES.keys() and min(families.values()) > 100


def test_entailed_questions_ask_for_what_an_open_answer_already_says(edition) -> None:
    linked = 0
    for part in ("train", "val", "test"):
        examples = {example.id: example for example in edition.examples["gqa", part]}
        for example in examples.values():
            for other in (examples[name] for name in example.annotation["entailed"]):
                assert other.images == example.images
                aspect = example.family.removeprefix("query ")
                assert other.family == f"verify {aspect}"
                says = other.text.rstrip("?").split()[-1]
                assert other.annotation["answer"] == (
                    "yes" if says == example.annotation["answer"] else "no"
                )
                linked += 1
    assert linked > 50


def test_questions_about_a_picture_are_all_different(edition) -> None:
    for task in ("vqav2", "gqa"):
        asked = [(example.images, example.text) for example in edition.all(task)]
        assert len(set(asked)) == len(asked)


def test_ten_people_answer_each_vqa_question_mostly_rightly(edition) -> None:
    agreeing = []
    for example in edition.all("vqav2"):
        answers = [each["answer"] for each in example.annotation["answers"]]
        assert len(answers) == 10
        assert [each["answer_id"] for each in example.annotation["answers"]] == [*range(1, 11)]
        agreeing.append(answers.count(example.annotation["multiple_choice_answer"]))
    assert min(agreeing) < 6 < 8.5 < sum(agreeing) / len(agreeing) < 9.5


def test_annotators_spell_numbers_as_words_now_and_then() -> None:
    random = Random(0)
    given = Counter(answer for _ in range(200) for answer in annotators("2", random))
    assert given.keys() == {"1", "2", "3"} | (given.keys() & NUMBERS.keys())
    assert 0 < given["two"] < given["2"]


def test_balance_takes_the_answer_that_was_given_least() -> None:
    balance = Balance()
    offers = [Question("f", "form", answer, answer) for answer in ("yes", "no")]
    chosen = [balance.choose([None, *offers]) for _ in range(10)]
    assert Counter(each.answer for each in chosen if each) == {"yes": 5, "no": 5}
    assert balance.choose([None]) is None


def test_the_same_seed_asks_the_same_questions() -> None:
    def asked(seed: int) -> list[Question]:
        random = Random(seed)
        scene = next(scenes("train", random))
        return ask(scene, GQA_FAMILIES, 5, Balance(), random)

    assert asked(1) == asked(1) != asked(2)
