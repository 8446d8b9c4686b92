"""The search of learning rates: which trials, what decides, and what a trial leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.command import vlbench
from tests.leaderboard.builders import TASKS, row, write
from vlbench import sweep
from vlbench.cards import MethodCard, load_method
from vlbench.cards.schema import Tuning
from vlbench.errors import RunFailed, UsageError
from vlbench.leaderboard.results import read_parquet
from vlbench.runs.folder import RunFolder
from vlbench.runs.launch import Outcome
from vlbench.runs.plan import Selection, plan
from vlbench.runs.spec import RunSpec
from vlbench.sweep import Search, Unfinished, rates, ruler_of, search, stored_searches, trial
from vlbench.verify import searches
from vlbench.verify.searches import verify_searches

SELECTION = Selection(("full", "shared-adapter"), "image-text", seeds=(1000,), is_trial=True)
Quality = Callable[[str, float, int], float | None]


@pytest.fixture(scope="module")
def bases() -> list[RunSpec]:
    return plan(SELECTION)


def doing(folder: Path, quality: Quality, done: list[RunSpec]) -> Callable:
    """Trials whose four metrics are those of a function of method, rate and seed."""

    def do(specs: Sequence[RunSpec]) -> list[Outcome]:
        outcomes = []
        for spec in specs:
            done.append(spec)
            name, rate = spec.method.name, spec.method.train.learning_rate
            value = quality(name, rate, spec.seed)
            run = RunFolder.of(folder, spec)
            if value is None:
                outcomes.append(Outcome(spec, run, "failed", RunFailed.exit_code, "NaN"))
                continue
            more = {"key": spec.key, "split": "val", "scope": "search", "seed": spec.seed}
            values = [value, value / 2, 50 + value / 4, 4 * value]
            rows = [
                row(name, task, v, majority=None if task == "coco" else 20.0, **more)
                for task, v in zip(TASKS, values, strict=True)
            ]
            write(folder, rows)
            outcomes.append(Outcome(spec, run, "done"))
        return outcomes

    return do


@pytest.mark.parametrize(
    ("center", "expected"),
    [
        (3e-3, [3e-4, 1e-3, 3e-3, 1e-2, 3e-2]),
        (1e-3, [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]),
        (2e-2, [2e-3, 6e-3, 2e-2, 6e-2, 0.2]),
    ],
)
def test_rates_are_five_in_steps_of_about_three(center: float, expected: list[float]) -> None:
    assert rates(center) == expected


def test_a_trial_is_the_run_that_set_would_give(bases: list[RunSpec]) -> None:
    given = replace(SELECTION, settings=("train.learning_rate=0.01",), seeds=(1001,))
    assert [trial(base, 0.01, 1001).key for base in bases] == [spec.key for spec in plan(given)]
    board = replace(given, is_trial=False)
    assert {spec.key for spec in plan(board)}.isdisjoint(spec.key for spec in plan(given))
    assert (bases[0].scope, bases[0].split) == ("search", "val")


def searched(tmp_path: Path, bases: list[RunSpec], quality: Quality) -> dict[str, Search]:
    own, _ = search(bases, doing(tmp_path, quality, []))
    return {one.method: one for one in own}


def test_every_method_gets_five_rates_and_its_best_two_again(
    tmp_path: Path, bases: list[RunSpec]
) -> None:
    done: list[RunSpec] = []

    def quality(name: str, rate: float, seed: int) -> float:
        second = {3e-3: -25.0}.get(rate, 0.0) * (seed == 1001)  # the second seed decides
        return 60 - 5000 * abs(rate - 3e-3) ** 1.0 + second

    own, ruler = search(bases, doing(tmp_path, quality, done))
    assert ruler is not None and len(ruler.floors) == 4
    for one in own:
        assert one.count == 7 and len(one.trials) == 5
        assert sorted(r for r, seeds in one.trials.items() if len(seeds) == 2) == [1e-3, 3e-3]
        assert one.ranked(ruler)[0] == 1e-3
    assert len({spec.key for spec in done}) == 14


def test_one_rate_more_where_the_best_lies_at_the_end(tmp_path: Path, bases: list[RunSpec]) -> None:
    own = searched(tmp_path, bases, lambda name, rate, seed: 30 + 1000 * rate)
    assert sorted(own["shared-adapter"].trials) == [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1]
    assert own["shared-adapter"].count == 8
    low = searched(tmp_path / "low", bases, lambda name, rate, seed: 60 - 1000 * rate)
    assert min(low["shared-adapter"].trials) == 1e-4


def test_captions_do_not_outweigh_answers(tmp_path: Path, bases: list[RunSpec]) -> None:
    """A rate that gains 10 of 40 points in VQA beats one that gains 20 of 240 in CIDEr."""

    def quality(name: str, rate: float, seed: int) -> float:
        return 60.0

    def do(specs: Sequence[RunSpec]) -> list[Outcome]:
        outcomes = doing(tmp_path, quality, [])(specs)
        for spec in specs:
            rate, extra = spec.method.train.learning_rate, {"key": spec.key, "split": "val"}
            values = [60.0, 50.0, 70.0, 240.0]
            values[0] += 10 * (rate == 1e-3)
            values[3] += 20 * (rate == 3e-3)
            rows = [
                row(spec.method.name, task, value, majority=20.0, **extra)
                for task, value in zip(TASKS, values, strict=True)
            ]
            write(tmp_path, rows)
        return outcomes

    own, ruler = search(bases, do)
    assert [one.ranked(ruler)[0] for one in own] == [1e-3, 1e-3]


def test_a_trial_that_diverges_has_no_score_and_is_named(
    tmp_path: Path, bases: list[RunSpec]
) -> None:
    own = searched(tmp_path, bases, lambda n, rate, s: None if rate >= 1e-2 else 40 + 1000 * rate)
    adapter = own["shared-adapter"]
    assert adapter.ranked(None)[0] == 3e-3 and adapter.count == 7
    assert [error.endswith("NaN") for error in adapter.errors] == [True, True]
    with pytest.raises(RunFailed, match=r"All trials failed:\nfull, train\.learning_rate="):
        search(bases, doing(tmp_path, lambda n, r, s: None, []))


def test_a_rate_that_diverges_with_the_second_seed_is_not_chosen(
    tmp_path: Path, bases: list[RunSpec]
) -> None:
    def quality(name: str, rate: float, seed: int) -> float | None:
        if (rate, seed) == (1e-2, 1001):
            return None
        return {1e-2: 60.0, 3e-3: 58.0}.get(rate, 40.0)

    own, ruler = search(bases, doing(tmp_path, quality, []))
    for one in own:
        assert len(one.trials[1e-2]) == 2 and one.ranked(ruler)[0] == 3e-3


def test_a_searched_card_is_searched_again_around_the_same_rate(bases: list[RunSpec]) -> None:
    line = "mini-bart/image-text: train.learning_rate around 3e-3: 3e-4, 1e-3, 3e-3, 1e-2, 3e-2"
    method = bases[1].method.model_copy(update={"tuning": Tuning(searched=(line,))})
    train = method.train.model_copy(update={"learning_rate": 1e-2})  # what was written
    changed = bases[1].model_copy(update={"method": method.model_copy(update={"train": train})})
    own: list[RunSpec] = []
    with pytest.raises(Unfinished):
        search([changed], lambda specs: own.extend(specs) or waiting(specs, bases[1]))
    assert [spec.method.train.learning_rate for spec in own] == [3e-4, 1e-3, 3e-3, 1e-2, 3e-2]


def waiting(specs: Sequence[RunSpec], base: RunSpec) -> list[Outcome]:
    return [Outcome(spec, RunFolder.of(Path("nowhere"), base), "queued") for spec in specs]


def test_what_was_stopped_or_waits_ends_the_search(tmp_path: Path, bases: list[RunSpec]) -> None:
    def ended(status: str, code: int) -> Callable:
        folder = RunFolder.of(tmp_path, bases[0])
        return lambda specs: [Outcome(spec, folder, status, code, status) for spec in specs]

    with pytest.raises(Unfinished, match="10 of 10"):
        search(bases, ended("queued", 0))
    with pytest.raises(RunFailed) as stopped:
        search(bases, ended("cancelled", 130))
    assert stopped.value.exit_code == 130
    with pytest.raises(UsageError, match="is what a sweep searches"):
        search([trial(bases[0], 0.1, 0)], ended("done", 0))


@pytest.mark.slow
def test_a_sweep_is_resumed_verified_and_in_no_table(tmp_path: Path) -> None:
    words = ["sweep", "--method", "shared-adapter,zero-shot", "--tasks", "vqa", "--limit", "32"]
    words += ["--set", "train.epochs=1", "--results", str(tmp_path), "--json"]
    first = vlbench(*words)
    assert first.exit_code == 0, first.stderr
    assert "zero-shot: nothing trains" in first.stderr
    [item] = json.loads(first.stdout)["items"]
    assert item["scope"] == "search" and item["n_trials"] in (7, 8)
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert folders == sorted(key for t in item["trials"] for key in t["runs"].values())
    again = vlbench(*words)
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert vlbench("verify", str(tmp_path)).exit_code == 0
    report = vlbench("report", "--results", str(tmp_path), "--include", "smoke")
    assert report.exit_code != 0 and "search" in report.stderr


def test_stored_trials_are_the_search_again_drawn_and_held_against_cards(
    tmp_path: Path, bases: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    def quality(name: str, rate: float, seed: int) -> float:
        return 40 + (10 if name == "full" else 5) - 400 * abs(rate - 3e-3)

    def do(specs: Sequence[RunSpec]) -> list[Outcome]:
        outcomes = doing(tmp_path, quality, [])(specs)
        for spec in specs:  # as a run writes its rows
            rows = read_parquet(RunFolder.of(tmp_path, spec).result).to_pylist()
            write(tmp_path, [row | spec.cells | {"split": "val"} for row in rows])
        return outcomes

    own, ruler = search(bases, do)
    [(cell, stored)] = stored_searches(tmp_path).items()
    assert (cell.suite, cell.backbone, cell.settings) == ("image-text", "mini-bart", ())
    assert sorted(stored, key=lambda one: one.method) == own
    assert ruler_of(stored) == ruler
    out = tmp_path / "rates.svg"
    done = vlbench("plot", "rates", "--results", tmp_path, "--out", out)
    assert done.exit_code == 0 and "shared-adapter" in out.read_text()
    few = vlbench("plot", "rates", "--results", tmp_path, "--method", "lora", "--out", out)
    assert few.exit_code == 4 and "no trials of a search" in few.stderr
    bare = load_method("shared-adapter").model_copy(update={"tuning": Tuning()})
    monkeypatch.setattr(searches, "load_method", lambda name: bare)
    unsaid = verify_searches(tmp_path)
    assert unsaid is not None and unsaid.findings.checked == 0  # no card says it was searched so
    tried = "3e-4, 1e-3, 3e-3, 1e-2, 3e-2"

    def card(rates: str) -> MethodCard:
        line = f"mini-bart/image-text: train.learning_rate around 3e-3: {rates}"
        own = load_method("shared-adapter")
        return own.model_copy(update={"tuning": Tuning(searched=(line,))})

    for rates_said, n_faults in ((tried, 0), ("3e-3, 1e-2", 1)):
        monkeypatch.setattr(searches, "load_method", lambda name, r=rates_said: card(r))
        verified = verify_searches(tmp_path)
        of_adapter = [f for f in verified.findings.faults if f.row.startswith("shared-adapter")]
        assert len(of_adapter) == n_faults
    monkeypatch.setattr(sweep, "card_rates", lambda method, cell: (1e-2, 3e-3))
    faults = verify_searches(tmp_path).findings.faults
    rates_of = {f.row.split()[0]: f for f in faults if f.column == "train.learning_rate"}
    assert (rates_of["shared-adapter"].stored, rates_of["full"].stored) == ("1e-2", "1e-2")
    (tmp_path / "none").mkdir()
    assert verify_searches(tmp_path / "none") is None
