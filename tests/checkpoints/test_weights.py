"""A state dict of theirs against a model of ours."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vlbench.checkpoints.authors import Name
from vlbench.checkpoints.weights import match, read_state
from vlbench.errors import DataError, MissingError, UsageError

ALL = slice(None)
NAMES = [
    Name("table", ALL, ("shared", "encoder.shared", "head")),
    Name("heads", slice(0, 2), ("head.0",)),
    Name("heads", slice(2, 4), ("head.1",)),
]
OWN = {"table": torch.zeros(3, 2), "heads": torch.zeros(4)}


def theirs() -> dict[str, Tensor]:
    table = torch.arange(6.0).view(3, 2)
    halves = {"head.0": torch.tensor([1.0, 2.0]), "head.1": torch.tensor([3.0, 4.0])}
    return {"shared": table, "encoder.shared": table.clone(), "head": table.clone(), **halves}


def matched(**changes: Tensor | None) -> dict[str, Tensor]:
    state = {**theirs(), **{name.replace("_", "."): value for name, value in changes.items()}}
    return match(OWN, NAMES, {name: t for name, t in state.items() if t is not None}, "file")


def test_rows_are_put_together_and_one_name_of_several_is_enough() -> None:
    for whole in (matched(), matched(shared=None, head=None)):
        assert whole["heads"].tolist() == [1, 2, 3, 4]
        assert torch.equal(whole["table"], theirs()["shared"])
    with_nan = torch.full((3, 2), torch.nan)
    matched(shared=with_nan, head=with_nan.clone(), encoder_shared=None)  # the same bits


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"head": theirs()["head"] + 1e-6}, "shared and head are one tensor there, but their"),
        ({"head_1": None, "more": torch.zeros(1)}, "1 missing: head.1\n  1 left over: more"),
        ({"head_0": torch.zeros(3)}, r"head\.0 has shape \(3,\), expected \(2,\)"),
        ({"head_0": torch.tensor([1, 2])}, "head.0 holds torch.int64, expected floating point"),
    ],
)
def test_what_does_not_fit_is_told(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(MissingError, match=rf"file: the weights do not fit.*:\n  {fault}"):
        matched(**changes)


STATE = {"a.weight": torch.ones(2), "b.bias": torch.zeros(3)}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_files_of_either_kind_are_read_without_a_wrappers_prefix(
    tmp_path: Path, suffix: str, prefix: str
) -> None:
    file = tmp_path / f"LAST{suffix}"
    state = {prefix + name: tensor for name, tensor in STATE.items()}
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    read = read_state(file)
    assert read.keys() == STATE.keys()
    assert all(torch.equal(read[name], STATE[name]) for name in STATE)


class Evil:
    def __reduce__(self) -> Any:
        return print, ("run",)


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": STATE}, {"a": Evil()}])
def test_what_is_no_state_dict_is_refused_and_never_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any
) -> None:
    file = tmp_path / "LAST.pth"
    torch.save(content, file)
    with pytest.raises(DataError, match="state dict"):
        read_state(file)
    assert capsys.readouterr().out == ""


def test_half_a_file_and_other_files_are_refused(tmp_path: Path) -> None:
    for suffix in (".pth", ".safetensors"):
        file = tmp_path / f"LAST{suffix}"
        save_file(STATE, file) if suffix == ".safetensors" else torch.save(STATE, file)
        for content in (file.read_bytes()[:-9], pickle.dumps(3)[:2]):
            file.write_bytes(content)
            with pytest.raises(DataError, match="not readable"):
                read_state(file)
    with pytest.raises(MissingError, match="no such file"):
        read_state(tmp_path / "none.pth")
    (tmp_path / "LAST.h5").touch()
    with pytest.raises(UsageError, match=r"neither of \.safetensors, \.pth"):
        read_state(tmp_path / "LAST.h5")
