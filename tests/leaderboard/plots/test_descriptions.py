"""Pictures in words."""

from __future__ import annotations

from pathlib import Path

from tests.leaderboard.boards import boards_of
from tests.leaderboard.builders import image_text
from vlbench.leaderboard.plots.costs import find_costs
from vlbench.leaderboard.plots.descriptions import curves_title, pareto_text, pareto_title
from vlbench.leaderboard.plots.quantity import Quantity

PLACE = "image-text on mini-bart, mini edition, test split"


def test_every_point_of_the_picture_is_told(tmp_path: Path) -> None:
    boards = boards_of(
        tmp_path,
        *(image_text("full", 66 + 4 * seed, 58, 71, 112, seed=seed) for seed in range(2)),
        image_text("lora", 30, 30, 30, 30, adapter_bytes=2_500),
        image_text("frozen", 41, 38, 51, 40, adapter_bytes=1_000),
    )
    costs = find_costs("adapter_bytes")
    assert pareto_title(boards, costs) == f"Average against stored size: {PLACE}"
    assert pareto_text(boards, costs) == (
        f"{PLACE}, average against stored size: full 77.2 ±0.7 at 330.0 KB, on the frontier; "
        "lora 30.0 at 2.5 KB, at or below a floor; frozen 42.5 at 1.0 KB, a floor."
    )


def test_the_title_of_curves_names_quantity_and_boards(tmp_path: Path) -> None:
    boards = boards_of(tmp_path, image_text("full", 66, 58, 71, 112))
    expected = "image-text on mini-bart, mini edition, training loss"
    assert curves_title(boards, Quantity.LOSS) == expected
