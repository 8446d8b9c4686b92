"""`vlbench plot`: options, files, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.command import assert_refused, vlbench
from tests.leaderboard.builders import image_text, write
from tests.leaderboard.log_builders import trained


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    trained(folder, "full", 2)
    trained(folder, "shared-adapter", 1, slow=1.1)
    smoke = image_text("full", 1, 1, 1, 1, scope="smoke", limit=64, key="smoke")
    return write(folder, smoke, image_text("full", 60, 50, 60, 90, edition="full"))


def plot(folder: Path, what: str, out: Path, *words: str) -> Result:
    return vlbench("plot", what, "--results", folder, "--out", out, *words)


@pytest.mark.parametrize(
    ("words", "shown", "absent"),
    [
        (
            "pareto --edition mini --method full --cost all",
            ["Peak memory (MB, log scale)", "Training time (s, log scale)"],
            ["shared-adapter", "full edition", "smoke"],
        ),
        ("pareto --metric coco.cider --edition full", ["coco cider (%)"], ["Average of"]),
        ("pareto --include smoke", ["(smoke: data cut to 64 examples a task)"], []),
        ("curves", ["training loss", "nlvr2", "shared-adapter"], ["epoch"]),
    ],
)
def test_options_choose_what_is_drawn(
    folder: Path, tmp_path: Path, words: str, shown: list[str], absent: list[str]
) -> None:
    file = tmp_path / "new/picture.svg"
    what, *more = words.split()
    result = plot(folder, what, file, *more)
    assert (result.exit_code, result.stdout) == (0, ""), result.stderr
    assert result.stderr == f"Written: {file}\n"
    written = file.read_text(encoding="utf-8")
    assert [text for text in shown if text not in written] == []
    assert [text for text in absent if f">{text}" in written] == []
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("what", "out", "words", "code", "message"),
    [
        ("pareto", "a.jpg", "", 2, "its suffix says the format: .png, .svg, .pdf."),
        ("curves", "file/a.svg", "", 2, "file is a file, no folder. Name another place: --out"),
        ("pareto", "a.png", "--cost seconds", 2, "Did you mean 'train_seconds'?"),
        ("curves", "a.png", "--edition full", 4, "No run of these has noted a loss"),
        ("pareto", "a.png", "--results {0}", 4, "Make some: vlbench run"),
    ],
)
def test_what_cannot_be_drawn_is_told_and_leaves_no_file(
    folder: Path, tmp_path: Path, what: str, out: str, words: str, code: int, message: str
) -> None:
    (tmp_path / "file").touch()
    result = plot(folder, what, tmp_path / out, *words.format(tmp_path).split())
    assert_refused(result, code, message)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
