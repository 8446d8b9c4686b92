"""Several processes do one run: together the same as one, and never one without the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.runs.builders import Bench, do, predictions
from vlbench import worker
from vlbench.errors import MissingError, RunFailed
from vlbench.runs import callbacks
from vlbench.runs import ranks as module
from vlbench.runs.folder import RunFolder
from vlbench.runs.ranks import Others, joined
from vlbench.runs.spec import RunSpec
from vlbench.training.train import Step

LOSSES, WEIGHTS = 2e-6, 1e-5
"""How far two ranks may be from one process: measured are 5e-7, of losses of about 5, and 2e-7."""
Start = Callable[..., Others]
LISTENS = "import sys; sys.stdin.read()"


@pytest.fixture
def others_that_do(tmp_path: Path) -> Iterator[Start]:
    """Processes in the place of ranks 1, 2, ... that run these lines of Python."""
    made = []

    def start(*codes: str) -> Others:
        others = Others(tmp_path, tmp_path, len(codes) + 1)
        made.append(others)
        for code in codes:
            command = [sys.executable, "-S", "-c", code]
            others.processes.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        return others

    yield start
    for each in made:
        each.end()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise SystemExit(3)", "process 2 of 2 ended: 3, without a word"),
        ("import os; os.kill(os.getpid(), 9)", "process 2 of 2 was ended by SIGKILL"),
    ],
)
def test_a_rank_that_dies_before_they_meet_is_told(
    others_that_do: Start, code: str, told: str
) -> None:
    others = others_that_do(code)
    with pytest.raises(RunFailed, match=told):
        others.wait_until_here()


def failing(file: Path, text: str, is_memory: bool = False) -> str:
    """Lines of a rank that tells why it fails, as a real one does."""
    told = json.dumps({"is_memory": is_memory, "text": text})
    return f"open({str(file)!r}, 'w').write({told!r}); raise SystemExit(1)"


def test_what_ended_the_first_rank_is_the_reason(others_that_do: Start, tmp_path: Path) -> None:
    second = failing(tmp_path / "failed-2.json", "failed: lost connection")
    others = others_that_do(
        failing(tmp_path / "failed-1.json", "failed: no more memory", is_memory=True),
        f"import time; time.sleep(0.3); {second}",
    )
    for process in others.processes:
        process.wait()
    with pytest.raises(MemoryError, match="process 2 of 3 failed: no more memory"):
        others.wait_until_here()


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (RunFailed("Loss is nan"), RunFailed, "process 2 of 2 failed: Loss is nan$"),
        (MemoryError("40 GB"), MemoryError, "process 2 of 2 failed: 40 GB$"),
        (ValueError("a bug"), RunFailed, r"(?s)process 2 of 2 failed: .*ValueError: a bug"),
    ],
)
def test_the_main_rank_gets_the_error_of_another(
    others_that_do: Start, tmp_path: Path, error: Exception, kind: type[Exception], told: str
) -> None:
    others = others_that_do("raise SystemExit(1)")
    try:
        raise error
    except Exception as raised:
        assert worker.leave_reason(raised, tmp_path / "failed-1.json") in (1, 5)
    with pytest.raises(kind, match=told):
        others.wait_until_here()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("GRACE_SECONDS", "REASON_SECONDS", "END_SECONDS"):
        monkeypatch.setattr(module, name, 0.4)
    yield


def test_a_rank_that_dies_interrupts_the_main_one(others_that_do: Start, quick: None) -> None:
    others = others_that_do("import time; time.sleep(0.1); raise SystemExit(4)")
    started = time.monotonic()
    with pytest.raises(RunFailed, match="process 2 of 2 ended: 4"), others.watched():
        time.sleep(30)
    assert time.monotonic() - started < 25  # it sleeps for 30


def test_a_lost_connection_is_explained_by_the_rank_that_left(
    others_that_do: Start, quick: None
) -> None:
    others = others_that_do("import time; time.sleep(0.2); raise SystemExit(4)")
    with pytest.raises(RunFailed, match="process 2 of 2 ended: 4") as failure, others.watched():
        raise RuntimeError("Connection closed by peer")
    assert isinstance(failure.value.__cause__, RuntimeError)


def test_an_error_of_the_main_rank_is_its_own(others_that_do: Start, quick: None) -> None:
    others = others_that_do(LISTENS)
    with pytest.raises(RuntimeError, match="a bug"), others.watched():
        raise RuntimeError("a bug")
    with pytest.raises(RunFailed, match="Loss is nan"), others.watched():
        raise RunFailed("Loss is nan")


def test_ranks_end_with_their_input_and_are_killed_where_they_do_not(
    others_that_do: Start, quick: None
) -> None:
    others = others_that_do(LISTENS, "import time; time.sleep(60)")
    others.end()
    assert [process.returncode for process in others.processes] == [0, -signal.SIGKILL]


def test_a_run_on_more_gpus_than_there_are_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(MissingError, match="8 processes need 8 GPUs, found"),
        joined(tmp_path, 8, "cuda"),
    ):
        pass


def odd_spec(bench: Bench, *more: str) -> RunSpec:
    """Batches of 69 and 59 examples, of 23 and 1; no dropout."""
    settings = ("train.batch_size=69", "train.learning_rate=0.02", "train.dropout=0", *more)
    return bench.spec(settings=("train.epochs=3", *settings))


def together(spec: RunSpec, results: Path, code: int = 0) -> RunFolder:
    """The run in two processes, of which this is one."""
    folder = RunFolder.of(results, spec)
    folder.create(spec)
    assert worker.main([str(folder.path), "--processes", "2"]) == code
    return folder


def losses(folder: RunFolder) -> list[float]:
    lines = [json.loads(line) for line in folder.curve.read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def assert_same(one: RunFolder, other: RunFolder) -> None:
    assert losses(one) == pytest.approx(losses(other), abs=LOSSES, rel=0)
    assert predictions(one) == predictions(other)
    expected = load_file(other.adapter)
    for name, tensor in load_file(one.adapter).items():
        assert (tensor - expected[name]).abs().max() <= WEIGHTS


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A point of the training curve, and a checkpoint, after each step."""
    monkeypatch.setattr(callbacks, "CURVE_STEPS", 1)
    monkeypatch.setenv("VLBENCH_CHECKPOINT_SECONDS", "0")


def test_two_processes_give_the_losses_weights_and_predictions_of_one(
    bench: Bench, tmp_path: Path, every_step: None
) -> None:
    spec = odd_spec(bench)
    one = do(spec, tmp_path / "one")
    environment = dict(os.environ)
    two = together(spec, tmp_path / "two")
    assert len(losses(one)) == 12
    assert_same(two, one)
    assert len({row["prediction"] for row in predictions(two)["vqav2"]}) > 1
    assert os.environ == environment


def interrupted(patch: pytest.MonkeyPatch, step: int, act: Callable[[], RunFolder]) -> RunFolder:
    """What `act` leaves when it ends after this step."""
    on_step = callbacks.Callbacks.on_step

    def stop_there(self: callbacks.Callbacks, seen: Step) -> None:
        on_step(self, seen)
        if seen.number == step:
            raise KeyboardInterrupt

    with patch.context() as inside:
        inside.setattr(callbacks.Callbacks, "on_step", stop_there)
        return act()


@pytest.mark.slow
def test_two_processes_that_go_on_end_bit_for_bit_where_two_do_that_nothing_disturbs(
    bench: Bench, tmp_path: Path, every_step: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = odd_spec(bench, "train.dropout=0.1")
    whole = together(spec, tmp_path / "whole")
    folder = interrupted(monkeypatch, 6, partial(together, spec, tmp_path, 130))
    together(spec, tmp_path)
    assert folder.attempts() == 2
    assert losses(folder) == losses(whole)
    assert predictions(folder) == predictions(whole)
    assert folder.adapter.read_bytes() == whole.adapter.read_bytes()


@pytest.mark.slow
def test_a_run_goes_on_in_another_number_of_processes(
    bench: Bench, tmp_path: Path, every_step: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = odd_spec(bench)
    whole = do(spec, tmp_path / "whole")
    shrunk = interrupted(monkeypatch, 6, partial(together, spec, tmp_path / "shrunk", 130))
    do(spec, tmp_path / "shrunk")
    grown = interrupted(monkeypatch, 6, partial(do, spec, tmp_path / "grown", 130))
    together(spec, tmp_path / "grown")
    for folder in (shrunk, grown):
        assert folder.attempts() == 2
        assert_same(folder, whole)


@pytest.fixture
def training(bench: Bench, tmp_path: Path) -> Iterator[tuple[RunFolder, int, int]]:
    """A run in two processes that trains for long: its folder and the process ids."""
    spec = odd_spec(bench, "train.epochs=2000")
    folder = RunFolder.of(tmp_path, spec)
    folder.create(spec)
    command = [sys.executable, "-m", "vlbench.worker", str(folder.path), "--processes", "2"]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: folder.status().get("step", 0) > 0)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            (other,) = map(int, children.split())
            yield folder, process.pid, other
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def has_ended(pid: int) -> bool:
    """Whether the process is gone, or only waits to be asked how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


Training = tuple[RunFolder, int, int]


@pytest.mark.slow
def test_a_killed_rank_fails_the_run_at_once_and_by_its_name(training: Training) -> None:
    folder, _, other = training
    os.kill(other, signal.SIGKILL)
    wait_for(lambda: folder.state == "failed", 15)
    assert "process 2 of 2 was ended by SIGKILL" in folder.status()["error"]


@pytest.mark.slow
def test_a_killed_worker_leaves_no_rank_behind(training: Training) -> None:
    _, main, other = training
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: has_ended(other), 10)


@pytest.mark.slow
def test_a_worker_that_is_told_to_stop_leaves_a_checkpoint_and_no_rank(training: Training) -> None:
    folder, main, other = training
    os.killpg(main, signal.SIGINT)
    wait_for(lambda: folder.state == "cancelled", 15)
    wait_for(lambda: has_ended(main) and has_ended(other), 15)
    assert folder.checkpoints.files()
