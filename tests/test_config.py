"""The configuration file: found, checked, and its values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vlbench.config import OPTIONS, SlurmSettings, load_config
from vlbench.errors import CardError
from vlbench.files import cache_folder, cache_place


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, a repository."""
    for variable in ("VLBENCH_CONFIG", "VLBENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "work" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def write(file: Path | str, text: str) -> Path:
    """Write a file; of a relative path, in the working folder."""
    file = Path(file).absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_the_nearest_file_above_counts_up_to_the_repository(tmp_path, monkeypatch) -> None:
    assert load_config().options == {} and load_config().slurm == SlurmSettings()
    write(tmp_path / "vlbench.toml", "jobs = 9")
    assert load_config().file is None  # it lies outside of the repository
    near, nearest = write("vlbench.toml", "jobs = 2"), write("deep/vlbench.toml", "jobs = 3")
    (tmp_path / "work" / "deep" / "er").mkdir()
    (tmp_path / "work" / "other").mkdir()
    monkeypatch.chdir("other")
    assert (load_config().file, load_config().options) == (near, {"jobs": 2})
    monkeypatch.chdir("../deep/er")
    assert load_config().file == nearest
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load_config().file is None
    monkeypatch.chdir(tmp_path)


def test_a_variable_names_another_file_which_is_the_user_s_own(tmp_path, monkeypatch) -> None:
    write("vlbench.toml", "jobs = 2")
    assert not load_config().is_own
    monkeypatch.setenv("VLBENCH_CONFIG", "../other.toml")
    with pytest.raises(CardError, match=r"other\.toml: no such file"):
        load_config()
    write(tmp_path / "other.toml", "jobs = 5")
    assert load_config().options == {"jobs": 5} and load_config().is_own


def test_values_are_by_option_by_card_key_and_of_slurm(folder) -> None:
    write(
        "vlbench.toml",
        'backbone = "clip-t5"\nfeatures = ["f", "/g"]\n[set]\ntrain.epochs = 2\n'
        'params.adapter.rank = 4\n[slurm]\npartition = "gpu"\nextra.nice = 1\nsetup = ["module"]',
    )
    config = load_config()
    assert config.options == {"backbone": "clip-t5", "features": [folder / "f", Path("/g")]}
    assert config.card_settings == {"train.epochs": 2, "params.adapter.rank": 4}
    slurm = config.slurm
    assert (slurm.partition, slurm.setup, slurm.extra) == ("gpu", ("module",), {"nice": 1})
    assert slurm.signal_seconds == 90


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('resuts = "x"', "resuts: Unknown key 'resuts'. Did you mean 'results'?"),
        ("set = 3", "set: Should be a table"),
        ("[root]", "root: Should be a value or a list"),
        ('[slurm]\npartitoin = "gpu"', "slurm.partitoin: Unknown key. Did you mean 'partition'?"),
        ('[slurm]\ncpus_per_task = "8"', "slurm.cpus_per_task: Input should be a valid integer"),
        ('[slurm]\nsetup = ["a\\nb"]', "slurm.setup[0]: Should be one line"),
        ('[slurm.extra]\nnice = "a\\nb"', "slurm.extra.nice"),
        ('[slurm.extra]\n"a\\nb" = 1', 'slurm.extra."a\\nb"'),
        ("jobs = = 2", "not valid TOML"),
    ],
)
def test_what_a_file_may_not_say_is_told_with_file_and_key(text, fault) -> None:
    file = write("vlbench.toml", text)
    with pytest.raises(CardError) as caught:
        load_config()
    assert str(caught.value).startswith(f"{file}: {fault}")


def test_all_faults_of_a_file_come_in_one_message() -> None:
    write("vlbench.toml", "job = 1\nlimits = 0\n[slurm]\nqos = 1\n")
    with pytest.raises(CardError) as caught:
        load_config()
    assert len(str(caught.value).splitlines()) == 3
    write("vlbench.toml", "".join(f"a{n} = 1\n" for n in range(9_000)))
    with pytest.raises(CardError) as caught:
        load_config()
    assert len(str(caught.value).splitlines()) == 6


def test_the_variable_for_the_cache_beats_the_file(tmp_path, monkeypatch) -> None:
    file = write("vlbench.toml", 'cache = "kept"')
    assert cache_place() == tmp_path / "work" / "kept"
    assert cache_folder().is_dir()
    write(file, 'cache = "~/kept"')
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert cache_place() == tmp_path / "me" / "kept"
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "own"))
    write(file, "cache = = 3")
    assert cache_folder() == tmp_path / "own"  # no file is read for it


def test_the_documentation_has_a_valid_file_every_key_and_every_variable(project: Path) -> None:
    page = (project / "docs" / "configuration.md").read_text("utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    write("vlbench.toml", block)
    assert load_config().card_settings == {"train.precision": "bf16"}
    assert load_config().slurm.extra == {"mail-type": "FAIL"}
    assert [key for key in (*OPTIONS, "cache") if f"`{key}`" not in page] == []
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    defaults = {row[0]: row[2] for row in rows if len(row) == 3}
    for key, field in SlurmSettings.model_fields.items():
        default = field.default or ("[]" if key == "setup" else "")
        assert defaults[key] == str(default), key
