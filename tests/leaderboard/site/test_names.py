"""Names of pages."""

from __future__ import annotations

import pytest

from vlbench.leaderboard.site.names import is_plain, numbered, page_names

HOSTILE = [
    *("../../x", "..", "/etc/passwd", "a/b", "a\\b", "C:\\x", "x\0y", "LoRA", "lora", "löra", ""),
    *("<script>", "javascript:alert(1)", "日本", "日本語", "x" * 500, "x" * 501, " x", "x "),
]


def test_a_plain_name_is_the_pages_name() -> None:
    assert page_names(["shared-adapter", "vqav2"]) == {
        "shared-adapter": "shared-adapter",
        "vqav2": "vqav2",
    }


def test_any_other_name_becomes_safe_letters_and_no_two_are_the_same() -> None:
    names = page_names(HOSTILE)
    assert len(set(names.values())) == len(HOSTILE)
    for name in names.values():
        assert name
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert len(name) < 80


def test_who_takes_anothers_hashed_name_gets_it_and_the_other_a_longer_hash() -> None:
    taken = page_names(["LoRA"])["LoRA"]
    both = page_names(["LoRA", taken])
    assert both[taken] == taken
    assert both["LoRA"].startswith(f"{taken[:-1]}") and both["LoRA"] != taken


def test_a_name_does_not_depend_on_the_order() -> None:
    assert page_names(HOSTILE) == page_names(reversed(HOSTILE))


def test_a_name_that_comes_again_is_numbered() -> None:
    assert numbered(["a", "b", "a", "a-2", "a"]) == ["a", "b", "a-3", "a-2", "a-4"]


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a\\b", ".hidden", "a\nb", "x" * 300])
def test_what_could_lead_elsewhere_is_no_file_name(text: str) -> None:
    assert not is_plain(text)


@pytest.mark.parametrize("text", ["COCO_val2014_000000005200", "-jyO7IaGWLY_10", "test1-0-0-img0"])
def test_the_ids_of_the_datasets_are_file_names(text: str) -> None:
    assert is_plain(text)
