from __future__ import annotations

import pytest

from vlbench.data.readers.gqa import GQA
from vlbench.errors import DataError, MissingError

FILE = "GQA/testdev_balanced_questions.json"


def test_ids_that_differ_by_a_leading_zero_are_two_questions(gqa) -> None:
    answers = {example.id: example.targets for example in GQA(gqa.folder).read("testdev")}
    assert answers == {"01827492": {"white": 1.0}, "1827492": {"red": 1.0}}


def test_the_family_is_the_detailed_type_and_the_record_is_kept(gqa) -> None:
    example = GQA(gqa.folder).read("testdev")[0]
    assert example.family == "directOf"
    assert example.annotation["groups"]["global"] is None


def test_pictures_are_found_by_their_string_id_whatever_the_suffix(gqa) -> None:
    reader = GQA(gqa.folder)
    assert reader.image_path("2354786").name == "2354786.jpg"
    assert reader.image_path("n161313").name == "n161313.png"


def test_a_question_without_an_answer_or_image_is_told(gqa) -> None:
    gqa.edit(FILE, lambda value: value["01827492"].pop("answer"))
    gqa.edit(FILE, lambda value: value["1827492"].update(imageId=161313))
    with pytest.raises(DataError) as caught:
        GQA(gqa.folder).read("testdev")
    assert str(caught.value).splitlines() == [
        f"{gqa / FILE}: question 01827492: no 'answer'",
        f"{gqa / FILE}: question 1827492: 'imageId' should be a string, found 161313",
    ]


def test_a_list_of_questions_is_refused(gqa) -> None:
    gqa.write(FILE, [{"question_id": "1"}])
    with pytest.raises(DataError, match="should be an object by question id"):
        GQA(gqa.folder).read("testdev")


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(MissingError, match=r"GQA/val_balanced_questions.json"):
        GQA(tmp_path).read("val")
