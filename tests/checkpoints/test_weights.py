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
from vlbench.checkpoints.weights import Match, match, read_state
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


def found(**changes: Tensor | None) -> Match:
    state = {**theirs(), **{name.replace("_", "."): value for name, value in changes.items()}}
    return match(OWN, NAMES, {name: t for name, t in state.items() if t is not None})


def test_rows_are_put_together() -> None:
    whole = found()
    assert whole.complaints() == []
    assert whole.tensors["heads"].tolist() == [1, 2, 3, 4]
    assert torch.equal(whole.tensors["table"], theirs()["shared"])
    assert (len(whole.taken), len(whole.repeated)) == (3, 2)
    whole.require_all("file")


def test_one_name_of_several_is_enough() -> None:
    less = found(shared=None, head=None)
    assert less.complaints() == []
    assert less.taken == ["encoder.shared", "head.0", "head.1"]


def test_repetitions_must_agree_bit_for_bit() -> None:
    other = theirs()["head"]
    other[2, 1] += 1e-6
    (fault,) = found(head=other).faults
    assert fault == "shared and head are one tensor there, but their values differ"
    with_nan = torch.full((3, 2), torch.nan)
    same = found(shared=with_nan, head=with_nan.clone(), encoder_shared=None)
    assert same.complaints() == []


def test_what_is_missing_or_left_over_is_counted_and_named() -> None:
    spoilt = found(head_1=None, more=torch.zeros(1))
    assert spoilt.missing == ["head.1"]
    assert spoilt.left_over == ["more"]
    assert "heads" not in spoilt.tensors
    with pytest.raises(MissingError, match=r"file: .*\n  1 missing: head.1\n  1 left over: more"):
        spoilt.require_all("file")


def test_the_first_ten_names_are_told() -> None:
    many = match(OWN, NAMES, {f"x{number:02}": torch.zeros(1) for number in range(15)})
    last = many.complaints()[-1]
    assert last.startswith("15 left over: x00, x01")
    assert last.endswith("x09, and 5 more")


def test_shapes_and_number_formats_must_fit() -> None:
    assert found(head_0=torch.zeros(3)).faults == ["head.0 has shape (3,), expected (2,)"]
    (fault,) = found(head_0=torch.tensor([1, 2])).faults
    assert fault == "head.0 holds torch.int64, expected floating point"


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
