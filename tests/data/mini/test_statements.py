from __future__ import annotations

from collections import defaultdict

from tests.data.mini.oracle import STATEMENTS, is_true


def test_every_label_is_what_the_sentence_says_of_its_two_pictures(edition) -> None:
    for example in edition.all("nlvr2"):
        left, right = edition.scenes_of(example)
        expected = "true" if is_true(example.text, (left, right)) else "false"
        assert example.targets == {expected: 1.0}, example.text
        assert example.annotation["label"] == expected.capitalize()


def test_every_sentence_is_true_of_two_of_its_four_pairs(edition) -> None:
    labels = defaultdict(list)
    for example in edition.all("nlvr2"):
        split, number, _, sentence = example.id.split("-")
        labels[split, number, sentence, example.text].append(example.annotation["label"])
    assert {tuple(sorted(each)) for each in labels.values()} == {("False", "False", "True", "True")}


def test_the_two_sentences_of_a_set_hold_in_all_four_combinations(edition) -> None:
    combined = defaultdict(dict)
    for example in edition.all("nlvr2"):
        pair, _, sentence = example.id.rpartition("-")
        combined[pair][sentence] = example.annotation["label"]
    by_set = defaultdict(set)
    for pair, labels in combined.items():
        by_set[pair.rpartition("-")[0]].add((labels["0"], labels["1"]))
    assert {len(each) for each in by_set.values()} == {4}


def test_all_wordings_occur(edition) -> None:
    import re

    texts = {example.text for example in edition.all("nlvr2")}
    for pattern, _ in STATEMENTS:
        assert any(re.fullmatch(pattern, text) for text in texts), pattern


def test_the_two_pictures_of_a_pair_differ(edition) -> None:
    for example in edition.all("nlvr2"):
        left, right = edition.scenes_of(example)
        assert left.things != right.things
