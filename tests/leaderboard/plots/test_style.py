"""Pictures as files: valid, the same bytes each time, in words too."""

from __future__ import annotations

import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from tests.leaderboard.boards import boards_of
from tests.leaderboard.builders import image_text
from vlbench.errors import UsageError
from vlbench.leaderboard.board import Board
from vlbench.leaderboard.plots.pareto import pareto
from vlbench.leaderboard.plots.points import find_costs
from vlbench.leaderboard.plots.style import FORMATS, picture_format, save, styled

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    [board] = boards_of(
        tmp_path_factory.mktemp("results"),
        *(image_text("full", 66 + seed, 58, 71, 112, seed=seed) for seed in range(2)),
        image_text("shared-adapter", 64, 56, 69, 105, trainable_parameters=2_000),
    )
    return board


@pytest.fixture(scope="module")
def files(board: Board, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved(board, tmp_path_factory.mktemp("files"))


def saved(board: Board, folder: Path) -> dict[str, Path]:
    """The picture in every format."""
    with styled():
        figure = pareto([board], find_costs("adapter_bytes"))
        return {
            name: save(figure, folder / f"picture.{name}", "A title <&>", "full 76.8")
            for name in FORMATS
        }


def test_the_same_picture_gives_the_same_bytes_at_another_time(
    board: Board, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time() + 100_000
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    for name, file in saved(board, tmp_path).items():
        assert file.read_bytes() == files[name].read_bytes(), name


def test_png_is_as_wide_as_asked_for_and_says_what_it_shows(files: dict[str, Path]) -> None:
    with Image.open(files["png"]) as picture:
        picture.load()
        assert picture.width == 1400
        assert picture.info["Title"] == "A title <&>"
        assert picture.info["Description"] == "full 76.8"
        assert "Software" not in picture.info


def test_svg_holds_text_as_text_and_a_title(files: dict[str, Path]) -> None:
    root = ElementTree.fromstring(files["svg"].read_bytes())
    written = [each.text for each in root.iter(f"{SVG}text")]
    assert {"full", "shared-adapter", "Stored size (KB, log scale)"} <= set(written)
    assert root.findtext(f"{SVG}title") == "A title <&>"
    assert b"full 76.8" in files["svg"].read_bytes()


def test_pdf_embeds_truetype_and_holds_no_date(files: dict[str, Path]) -> None:
    content = files["pdf"].read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")
    assert b"/Type3" not in content
    assert b"/CIDFontType2" in content
    assert b"CreationDate" not in content


@pytest.mark.parametrize("name", ["a.png", "a.SVG", "my.results/b.c.pdf"])
def test_the_suffix_is_the_format(name: str) -> None:
    assert picture_format(Path(name)) == name.lower().rpartition(".")[2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "a.jpg",
            "--out a.jpg: The suffix '.jpg' is no picture's; it says the format: .png, .svg, .pdf.",
        ),
        ("a", "--out a: A suffix is missing; it says the format: .png, .svg, .pdf."),
    ],
)
def test_another_suffix_is_told_with_the_valid_ones(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        picture_format(Path(name))
    assert str(caught.value) == message


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"A folder is there; name a file that ends in \.png"):
        picture_format(tmp_path)
