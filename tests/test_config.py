"""Configuration files: found, checked, merged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from vlbench.config import Settings, SlurmSettings, config_files, leaves, load_config
from vlbench.errors import CardError
from vlbench.files import cache_folder, cache_place


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder for configuration; the working folder is `work`, in a repository."""
    for variable in ("VLBENCH_CONFIG", "VLBENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "work" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def write(file: Path | str, text: str) -> Path:
    """Write a file, `vlbench.toml` in the working folder under that name."""
    file = Path(file).absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_the_nearest_file_above_counts_up_to_the_repository(tmp_path, monkeypatch) -> None:
    assert load_config().options == {} and load_config().slurm == SlurmSettings()
    write(tmp_path / "vlbench.toml", "jobs = 9")
    assert config_files() == ()  # it lies outside of the repository
    near = write("vlbench.toml", "jobs = 2")
    nearest = write("deep/vlbench.toml", "jobs = 3")
    (tmp_path / "work" / "deep" / "er").mkdir()
    (tmp_path / "work" / "other").mkdir()
    monkeypatch.chdir("other")
    assert config_files() == (near,)
    monkeypatch.chdir("../deep/er")
    assert config_files() == (nearest,)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert config_files() == ()
    monkeypatch.chdir(tmp_path)


def test_a_variable_names_another_file_for_the_project(tmp_path, monkeypatch) -> None:
    write("vlbench.toml", "jobs = 2")
    monkeypatch.setenv("VLBENCH_CONFIG", "../other.toml")
    with pytest.raises(CardError, match=r"other\.toml: no such file"):
        load_config()
    write(tmp_path / "other.toml", "jobs = 5")
    assert load_config().options == {"jobs": 5}


def test_the_project_wins_over_the_user_key_by_key(home) -> None:
    user = write(
        home / "vlbench" / "config.toml",
        'jobs = 3\nbackbone = "clip-bart"\n[set.train]\nepochs = 9\nbatch_size = 7\n'
        '[slurm]\naccount = "a"\npartition = "cpu"\nextra.nice = 5\nextra.mail-type = "END"',
    )
    project = write(
        "vlbench.toml",
        'backbone = "clip-t5"\n[set]\ntrain.epochs = 2\nparams.adapter.rank = 4\n'
        '[slurm]\npartition = "gpu"\nextra.nice = 1\nsetup = ["module load cuda"]',
    )
    config = load_config()
    assert config.files == (user, project)
    assert config.options == {"jobs": 3, "backbone": "clip-t5"}
    assert config.card_settings == {
        "train.epochs": 2,
        "train.batch_size": 7,
        "params.adapter.rank": 4,
    }
    slurm = config.slurm
    assert (slurm.account, slurm.partition, slurm.setup) == ("a", "gpu", ("module load cuda",))
    assert slurm.extra == {"nice": 1, "mail-type": "END"}
    assert slurm.signal_seconds == 90
    of_project = {"backbone", "set.train.epochs", "set.params.adapter.rank"}
    of_project |= {"slurm.partition", "slurm.extra.nice", "slurm.setup"}
    of_user = {"jobs", "set.train.batch_size", "slurm.account", "slurm.extra.mail-type"}
    sources = dict.fromkeys(of_project, project) | dict.fromkeys(of_user, user)
    assert config.sources == sources


def test_paths_are_relative_to_their_file(home, tmp_path, monkeypatch) -> None:
    write(home / "vlbench" / "config.toml", 'root = "data"\ncache = "~/kept"')
    write("vlbench.toml", 'results = "out"\nfeatures = ["f", "/g"]')
    (tmp_path / "work" / "inner").mkdir()
    monkeypatch.chdir("inner")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert load_config().options == {
        "root": home / "vlbench" / "data",
        "results": tmp_path / "work" / "out",
        "features": [tmp_path / "work" / "f", Path("/g")],
    }
    assert load_config().values["cache"] == tmp_path / "me" / "kept"


def test_lists_and_numbers_become_comma_lists() -> None:
    write("vlbench.toml", 'tasks = ["vqav2", "gqa"]\nseeds = [0, 1, 2]\ndevices = 0')
    assert load_config().options == {"tasks": "vqav2,gqa", "seeds": "0,1,2", "devices": "0"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('jobs = "two"', 'jobs: Should be a valid integer, found "two".'),
        ("jobs = 0", "jobs: Should be greater than or equal to 1, found 0."),
        ("seeds = [0.5]", "seeds: Should be a name or number, or a list of them, found [0.5]."),
        ("tasks = true", "tasks: Should be a name or number, or a list of them, found true."),
        ('edition = "ful"', "edition: Should be 'mini' or 'full', found \"ful\"."),
        ('launcher = "k8s"', "launcher: Should be 'local' or 'slurm', found \"k8s\"."),
        ('resuts = "x"', "resuts: Unknown key 'resuts'. Did you mean 'results'?"),
        ("[set.train]\nepoch = 3", "set.train.epoch: Unknown key 'epoch'. Did you mean 'epochs'?"),
        ('[slurm]\npartitoin = "gpu"', "slurm.partitoin: Unknown key 'partitoin'. Did you mean"),
        ("[slurm.extra]\nnice = [1]", "slurm.extra.nice: Should be a single value"),
        ("jobs = = 2", "not valid TOML"),
    ],
)
def test_what_a_file_may_not_say_is_told_with_file_and_key(text, fault) -> None:
    file = write("vlbench.toml", text)
    with pytest.raises(CardError) as caught:
        load_config()
    assert str(caught.value).startswith(f"{file}: {fault}")
    assert caught.value.exit_code == 2


def test_all_faults_of_a_file_come_in_one_message() -> None:
    write("vlbench.toml", 'jobs = "two"\nlimit = 0\n[slurm]\nqos = 1\n')
    with pytest.raises(CardError) as caught:
        load_config()
    assert len(str(caught.value).splitlines()) == 3


def test_the_launchers_of_a_file_are_those_there_are() -> None:
    from vlbench.runs.launch import LAUNCHERS

    (choices, _) = get_args(Settings.model_fields["launcher"].annotation)
    assert set(get_args(choices)) == set(LAUNCHERS)


def test_the_variable_for_the_cache_beats_the_file(tmp_path, monkeypatch) -> None:
    file = write("vlbench.toml", 'cache = "kept"')
    assert cache_place() == (tmp_path / "work" / "kept", str(file))
    assert cache_folder().is_dir()
    monkeypatch.setenv("VLBENCH_CACHE", str(tmp_path / "own"))
    assert cache_place() == (tmp_path / "own", "VLBENCH_CACHE")
    write(file, "cache = 3")
    assert cache_folder() == tmp_path / "own"  # no file is read for it


def test_leaves_are_the_dotted_keys_of_values() -> None:
    table = {"a": 1, "b": {"c": [2], "d.e": {"f": "3"}}, "g": {}}
    assert dict(leaves(table)) == {"a": 1, "b.c": [2], 'b."d.e".f': "3"}


def test_the_documentation_has_a_valid_file_every_key_and_every_variable(project: Path) -> None:
    from vlbench.cli.options import NOT_OPTIONS

    page = (project / "docs" / "configuration.md").read_text("utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    write("vlbench.toml", block)
    assert load_config().card_settings == {"train.precision": "bf16"}
    assert load_config().slurm.extra == {"mail-type": "FAIL"}
    for key in Settings.model_fields.keys() - {"set", "slurm"}:
        assert f"`{key}`" in page, key
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    defaults = {row[0]: row[2] for row in rows if len(row) == 3}
    for key, field in SlurmSettings.model_fields.items():
        default = field.default or ("[]" if key == "setup" else "")
        assert defaults[key] == str(default), key
    assert set(re.findall(r"^\| `(VLBENCH_\w+)`", page, re.MULTILINE)) == set(NOT_OPTIONS)
