"""State dicts from files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vlbench.checkpoints.weights import read_state
from vlbench.errors import DataError, MissingError, UsageError

STATE = {"a.weight": torch.ones(2), "b.bias": torch.zeros(3)}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_files_of_either_kind_are_read_without_a_wrappers_prefix(
    tmp_path: Path, suffix: str, prefix: str
) -> None:
    file = tmp_path / f"LAST{suffix}"
    state = {prefix + name: tensor for name, tensor in STATE.items()}
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    found = read_state(file)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_a_prefix_that_only_some_have_is_part_of_the_name(tmp_path: Path) -> None:
    file = tmp_path / "LAST.pth"
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, file)
    assert set(read_state(file)) == {"module.a", "b"}


class Evil:
    def __reduce__(self) -> Any:
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([1, 2], "it holds list"),
        ({}, "it holds nothing"),
        ({"model": STATE}, "'model' is dict, not a tensor"),
        ({"a": Evil()}, "not readable as a state dict"),
    ],
    ids=["list", "empty", "nested", "code"],
)
def test_what_is_no_state_dict_is_told_and_never_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, told: str
) -> None:
    file = tmp_path / "LAST.pth"
    torch.save(content, file)
    with pytest.raises(DataError, match=told):
        read_state(file)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_half_a_file_is_told(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"LAST{suffix}"
    save_file(STATE, file) if suffix == ".safetensors" else torch.save(STATE, file)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DataError, match="not readable"):
        read_state(file)
    file.write_bytes(pickle.dumps(3)[:2])
    with pytest.raises(DataError, match="not readable"):
        read_state(file)


def test_other_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file"):
        read_state(tmp_path / "LAST.pth")
    (tmp_path / "LAST.h5").touch()
    with pytest.raises(UsageError, match=r"neither of \.safetensors, \.pth"):
        read_state(tmp_path / "LAST.h5")
