"""What a spec says, for showing."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlbench.errors import DataError
from vlbench.leaderboard.site.specs import command, differing, read_spec, said, table

SPEC = {
    "method": {"name": "lora"},
    "suite": "image-text",
    "backbone": "mini-bart",
    "edition": "mini",
    "seed": 2,
}


def test_the_command_makes_the_same_run() -> None:
    assert command(SPEC) == (
        "vlbench run --method lora --tasks image-text --backbone mini-bart --edition mini --seeds 2"
    )


def test_the_command_has_settings_limit_encoder_and_start_and_is_quoted() -> None:
    spec = SPEC | {
        "settings": ["train.epochs=1", "params.x='a b'; rm -rf /"],
        "limit": 64,
        "encoder": "clip-rn50",
        "init": "old one.safetensors",
        "root": "/home/me/data",
    }
    words = command(spec)
    assert "--limit 64 --encoder clip-rn50 --init 'old one.safetensors' --root DIR" in words
    assert "--set train.epochs=1 --set 'params.x=" in words
    assert "/home/me" not in words


@pytest.mark.parametrize("spec", [{}, {"method": "lora"}, {"method": ["lora"], "suite": "x"}])
def test_a_spec_that_does_not_tell_makes_no_command(spec) -> None:
    assert command(spec) == ""


def test_a_table_is_its_leaves_by_dotted_name() -> None:
    assert table({"a": {"b": 1e-3, "c": True}, "d": [], "e": ["x", 2]}) == [
        *(("a.b", "0.001"), ("a.c", "yes")),
        *(("d", "—"), ("e", "x, 2")),
    ]
    assert table("text") == table(None) == []


def test_a_long_value_is_cut() -> None:
    assert len(said("x" * 5000)) == 400


def test_specs_differ_in_what_one_of_them_has_otherwise() -> None:
    assert differing([SPEC, SPEC | {"seed": 1}, SPEC | {"limit": 3}]) == ["seed", "limit"]


def test_a_run_without_a_spec_has_an_empty_one_and_a_broken_one_is_an_error(tmp_path: Path) -> None:
    assert read_spec(tmp_path, "key") == {}
    file = tmp_path / "runs" / "key" / "spec.json"
    file.parent.mkdir(parents=True)
    for broken in ("{", "[]", "\udcff"):
        file.write_bytes(broken.encode("utf-8", "surrogateescape"))
        with pytest.raises(DataError, match=r"spec\.json: not a run's spec"):
            read_spec(tmp_path, "key")
