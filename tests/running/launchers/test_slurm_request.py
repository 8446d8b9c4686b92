"""What jobs ask for."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from vlbench.config import SlurmSettings
from vlbench.errors import MissingError, UsageError
from vlbench.running.launchers import Resources
from vlbench.running.launchers.slurm import (
    check_resources,
    computing_device,
    environment,
    in_words,
    is_on_gpus,
    request,
    script,
)


def lines(is_on_gpus: bool = False, processes: int = 1, **settings: Any) -> list[str]:
    """The script's options."""
    asked = request(Resources(processes=processes, slurm=SlurmSettings(**settings)), is_on_gpus)
    text = script(asked, Path("/results/slurm"), 3)
    return [line for line in text.splitlines() if line.startswith("#SBATCH")]


def option(found: list[str], name: str) -> list[str]:
    return [line for line in found if line.split("=")[0] == f"#SBATCH --{name}"]


def test_settings_are_options_of_sbatch() -> None:
    found = lines(
        partition="a,b",
        account="us",
        qos="low",
        constraint="a100",
        time_minutes=90,
        cpus_per_task=4,
        memory_gb=1.5,
        array_parallelism=2,
        signal_seconds=45,
    )
    wanted = ("partition=a,b", "account=us", "qos=low", "constraint=a100", "time=90")
    more = ("cpus-per-task=4", "mem=1536M", "array=0-2%2", "signal=USR2@45", "requeue")
    assert {f"#SBATCH --{each}" for each in (*wanted, *more)} <= set(found)


def test_what_is_left_out_the_cluster_decides() -> None:
    names = {line.split()[1].split("=")[0] for line in lines()}
    assert not names & {"--time", "--partition", "--account", "--mem", "--wckey", "--gpus-per-node"}


def test_a_time_limit_of_the_command_counts_more_than_that_of_the_file() -> None:
    resources = Resources(time_limit_minutes=7.5, slurm=SlurmSettings(time_minutes=90))
    assert request(resources, False)["time"] == 8


def test_each_process_has_a_gpu_and_settings_may_ask_for_more() -> None:
    assert option(lines(True, 2), "gpus-per-node") == ["#SBATCH --gpus-per-node=2"]
    assert option(lines(True, 2, gpus_per_node=8), "gpus-per-node") == ["#SBATCH --gpus-per-node=8"]
    assert not option(lines(False, 2), "gpus-per-node")
    with pytest.raises(MissingError, match=r"--processes 2: .* is 1"):
        lines(True, 2, gpus_per_node=1)


def test_further_options_are_passed_through_and_take_the_place_of_ours() -> None:
    more = {"mail-type": "END", "--time": "2-00:00:00", "exclusive": True, "requeue": False}
    found = lines(time_minutes=90, extra=more)
    assert option(found, "mail-type") == ["#SBATCH --mail-type=END"]
    assert option(found, "time") == ["#SBATCH --time=2-00:00:00"]
    assert "#SBATCH --exclusive" in found
    assert not option(found, "requeue")


def test_a_step_has_the_processors_of_its_job() -> None:
    """Since Slurm 22.05 srun no longer takes them from the job."""
    asked = request(Resources(slurm=SlurmSettings(cpus_per_task=6)), False)
    assert "--cpus-per-task=6" in script(asked, Path("/results/slurm"), 1).split("# command")[1]


def test_what_is_asked_for_reads_as_on_the_command_line() -> None:
    settings = SlurmSettings(partition="gpu", cpus_per_task=2, extra={"nodelist": "n[1-2]"})
    said = in_words(request(Resources(slurm=settings), True))
    assert said == (
        "--partition=gpu, --cpus-per-task=2, --gpus-per-node=1, --requeue, --nodelist=n[1-2]"
    )


def test_variables_do_not_overrule_what_the_settings_say() -> None:
    given = dict.fromkeys(
        ("SBATCH_TIMELIMIT", "SBATCH_QOS", "SBATCH_REQUEUE", "SBATCH_SIGNAL", "HOME"), "x"
    )
    asked = request(Resources(slurm=SlurmSettings(time_minutes=90)), False)
    assert set(environment(asked, given)) == {"SBATCH_QOS", "HOME"}
    asked = request(Resources(slurm=SlurmSettings(qos="low")), False)
    assert set(environment(asked, given)) == {"SBATCH_TIMELIMIT", "HOME"}


def test_jobs_compute_on_gpus_whatever_the_machine_that_submits_them_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VLBENCH_FAKE_GPUS", raising=False)
    assert computing_device("auto", None) == "cuda"
    assert computing_device("cpu", None) == "cpu"
    assert computing_device("auto", 0) == "cpu"
    assert not is_on_gpus(Resources(), ["cpu"])
    monkeypatch.setenv("VLBENCH_FAKE_GPUS", "2")
    assert computing_device("auto", None) == "cpu"
    assert is_on_gpus(Resources(), ["cpu"])
    assert not is_on_gpus(Resources(devices="cpu"), ["cpu"])


BREAKS = ["a\nb", "a\rb", "a\x1b[2Jb", "a\x00b", "a\u2028b"]


@pytest.mark.parametrize("text", BREAKS)
@pytest.mark.parametrize("key", ["partition", "account", "qos", "constraint", "setup", "extra"])
def test_no_setting_is_more_than_a_line_of_the_script(key: str, text: str) -> None:
    value: object = {"setup": ["module load cuda", text], "extra": {"comment": text}}.get(key, text)
    with pytest.raises(ValueError, match=f"(?s){key}.*one line without control characters"):
        SlurmSettings.model_validate({key: value})


@pytest.mark.parametrize(
    "name", ["nice\n", "x\ntouch /tmp/x", "nice=5 --wrap", "a b", "", "--", "-c"]
)
def test_the_names_of_further_options_are_names(name: str) -> None:
    with pytest.raises(ValueError, match="name of an option of sbatch"):
        SlurmSettings.model_validate({"extra": {name: 1}})


def test_a_value_stays_one_word_of_its_line() -> None:
    value = "a # b --wrap=x 'c' \"d\" $(e) -f"
    (line,) = option(lines(constraint=value), "constraint")
    assert shlex.split(line.removeprefix("#SBATCH ")) == [f"--constraint={value}"]


def test_a_warning_signal_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "USR2\ntouch x")
    with pytest.raises(UsageError, match=r"SUBMITIT_PREEMPT_SIGNAL=USR2\[U\+000A\]touch x"):
        check_resources(Resources(launcher="slurm"))


def test_jobs_start_python_without_the_current_folder() -> None:
    text = script(request(Resources(), False), Path("/results/slurm"), 1)
    assert f"{sys.executable} -P -u -m submitit.core._submit" in text
