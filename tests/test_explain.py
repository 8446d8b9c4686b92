"""What comes from files, memory and other programs is told as such; the rest is a bug."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from safetensors import SafetensorError

from tests.cli.command import assert_refused, vlbench
from vlbench.errors import explain


def raised(call: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), 3, "a/b: No space left on"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a" * 300), 2, "aaa...: File name too"),
        (raised(lambda: os.stat("a\0b")), 2, "A path cannot be used: embedded null byte."),
        (raised(lambda: Path("~nobody-here/a").expanduser()), 2, "Could not determine home"),
        (raised(lambda: int("9" * 5_000)), 3, "damaged"),
        (raised(lambda: json.loads("[" * 100_000)), 3, "What was read is nested too deeply (in "),
        (raised(lambda: b"\xff".decode()), 3, "damaged"),
        (pa.ArrowInvalid("not Parquet"), 3, "not Parquet"),
        (SafetensorError("header too large"), 3, "header too large"),
        (pickle.UnpicklingError("no pickle"), 3, "no pickle"),
        (MemoryError(), 3, "There is too little memory: none is left."),
        (RuntimeError("can't start new thread"), 3, "There is too little memory"),
        (raised(lambda: sys.exit(0)), 2, "SystemExit(0) was raised there"),
        (subprocess.TimeoutExpired(["java"], 5), 3, "'java'"),
        (ImportError("libtorch.so: cannot map", name="torch"), 3, "libtorch.so: cannot map"),
    ],
)
def test_what_is_not_ours_is_told_in_one_sentence(
    error: BaseException, code: int, words: str
) -> None:
    ours = explain(error)
    assert ours is not None and ours.exit_code == code
    assert words in str(ours) and "\n" not in str(ours)


@pytest.mark.parametrize(
    "error",
    [
        *(ValueError("a slip"), KeyError("a"), RuntimeError("shapes"), AssertionError()),
        *(BrokenPipeError(errno.EPIPE, "Broken pipe"), ImportError("x", name="vlbench.x")),
    ],
)
def test_a_bug_stays_a_bug(error: Exception) -> None:
    assert explain(error) is None


@pytest.mark.parametrize(
    "words",
    [
        *("report --results", "status --results", "verify --results", "results import", "show"),
        *("report --out", "plot pareto --out", "data make-mini --out"),
        "data check --tasks vqav2 --root",
        "plan --method frozen --tasks vqav2 --root",
        "plan --method frozen --tasks vqav2 --backbone-path",
        "data extract-features --encoder mini --out x --images",
        "score vqav2 --annotations x --predictions",
        "score vqav2 --predictions x --annotations",
    ],
)
def test_a_path_that_can_be_no_files_is_told_in_a_line(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    for path in ("a" * 300, "loop", "a\0b"):
        result = vlbench(*words.split(), path)
        assert isinstance(result.exception, SystemExit)
        assert result.exit_code in (2, 3, 4)
        assert len(result.stderr.splitlines()) <= 3


@pytest.mark.parametrize("digits", [400, 5_000])
def test_a_number_without_end_is_refused(digits: int) -> None:
    for option in ("--limit", "--jobs", "--processes", "--seeds", "--max-batch"):
        words = ("plan", "--method", "frozen", "--tasks", "vqav2", option, "9" * digits)
        assert_refused(vlbench(*words), 2)


def test_a_value_is_not_repeated_at_length() -> None:
    result = vlbench("plan", "--method", "frozen", "--tasks", "vqav2", "--set", "a" * 50_000)
    assert_refused(result, 2, "Should be key=value")
    assert len(result.stderr) < 3_000
