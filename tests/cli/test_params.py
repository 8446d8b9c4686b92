from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from vlbench.cli.params import params
from vlbench.errors import UsageError

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(params)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["--backbone", "clip-bart", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_papers_percentages_are_printed() -> None:
    table = run("--method", "shared-adapter,compacter")
    assert "6,081,600" in table
    assert "4.18" in table
    assert "7.05" in table


def test_json_has_numbers_groups_and_the_convention() -> None:
    document = json.loads(run("--method", "shared-compacter", "--json"))
    assert document["schema"] == "vlbench.params/1"
    (item,) = document["items"]
    assert (item["trainable_parameters"], item["total_parameters"]) == (3_870_240, 143_395_104)
    assert item["trainable_percent"] == 100 * 3_870_240 / 143_395_104
    assert item["groups"]["visual embedding"] == {"trainable": 1_582_848, "total": 1_582_848}
    assert "tied tensors once" in item["denominator"]


def test_set_changes_the_count_and_a_width_that_does_not_divide_is_refused() -> None:
    shown = run("--method", "half-shared-adapter", "--set", "sharing=down", "--json")
    assert json.loads(shown)["items"][0]["trainable_parameters"] == 12_786_240
    with pytest.raises(UsageError, match=r"params\.reduction=7 does not divide"):
        run("--method", "adapter", "--set", "params.reduction=7")


def test_an_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'clip-bart'"):
        run("--backbone", "clip-brat")


def test_the_command_imports_nothing_heavy_before_it_runs() -> None:
    code = (
        "import sys, vlbench.cli.params;"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
