"""Finalists: the trial whose mean over new seeds is best, not the one with the luckiest value."""

import json
from pathlib import Path

import pytest

from kmcl_platform.config.arms import retrain_best, to_yaml
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store
from kmcl_platform.tracking.comparison.finalists import (
    Finalist,
    FinalistResults,
    promoted_row,
    read_finalists,
    record_finalists,
    score_finalists,
)
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome
from tests.support.command_line import kmcl
from tests.tracking.conftest import trial_writer

FILE = b"""
name: w
base: {num_epochs: 1}
objective: {metric: METRIC}
space: {loss.contrastive_weight: {kind: loguniform, low: 0.01, high: 10}}
budget: {trials: 9}
finalists: {trials: 2, seeds: 3}
"""
OWN = {0: 0.4, 1: 0.5, 2: 0.6, 3: 0.7}
"""Trial 0 is the base, trial 1 the asymmetric loss. The search drew trials 2 and 3."""
AGAIN: dict[int, list[float | None]] = {3: [0.60, 0.62, 0.61], 2: [0.63, 0.65, 0.64], 1: [0.70, 0.70, None]}


def write_trials(store: Store, file: SearchFile, own: dict[int, float]) -> None:
    runs = SearchRuns.open(store, file, to_yaml(file), "w.yaml")
    for number, value in own.items():
        name = ("kmcl", "asymmetric")[number] if number < 2 else ""
        config = file.base.with_values({"loss.objective": "asymmetric"} if number == 1 else {})
        runs.trials.begin(number, config, baseline=number < 2, baseline_name=name)
        runs.trials.log_epochs(number, [])
        run = next(one for one in runs.trials.all_runs() if one.info.run_name.startswith(f"trial-{number:04d}"))
        connect(store).log_metric(run.info.run_id, "epochs", 1)
        runs.trials.end(number, TrialOutcome.COMPLETED, objective=value)


def write_search(store: Store, metric: str = "val/mAP") -> dict[str, str]:
    """A search and its retrained finalists; returns the searches of the finalists by their names."""
    file = parse_search_file(FILE.replace(b"METRIC", metric.encode()), "w.yaml")
    write_trials(store, file, OWN)
    retrained = {}
    for number, values in AGAIN.items():
        search = retrain_best(file, number, file.base, 3)
        runs, run_trial = SearchRuns.open(store, search, to_yaml(search), "w.yaml"), trial_writer(search)
        for place, (seed, value) in enumerate(zip(search.space["seed"].edges(), values, strict=True)):
            outcome = TrialOutcome.COMPLETED if value is not None else TrialOutcome.DIVERGED
            run_trial(runs, place, [value or 0.1], outcome, objective=value, seed=seed)
        retrained["asymmetric" if number == 1 else f"trial {number}"] = search.name
    return retrained


def test_the_best_mean_is_promoted_and_the_report_says_what_was_luck(store: Store, tmp_path: Path) -> None:
    retrained = write_search(store)
    assert promoted_row(read_leaderboard(store, "w")).number == 3, "without finalists, the best value"
    record_finalists(store, "w", retrained)
    board = read_leaderboard(store, "w")
    found = read_finalists(board)
    assert found == score_finalists(store, "w", retrained)
    # Trial 1 has the best mean, but did not finish one of its trainings.
    assert [(one.number, one.baseline, one.own, one.finished) for one in found.trials] == [
        (2, "", 0.6, 3), (3, "", 0.7, 3), (1, "asymmetric", 0.5, 2)
    ]  # fmt: skip
    assert [one.mean for one in found.trials] == pytest.approx([0.64, 0.61, 0.70])
    assert [one.deviation for one in found.trials] == pytest.approx([0.01, 0.01, 0.0])
    assert (found.num_seeds, found.epochs) == (3, 9)
    assert found.hours == pytest.approx(9 * 2 / 3600)
    assert found.sentences() == [
        "finalists: 3 trials on 3 new seeds: 9 trainings, 9 epochs, 0.005 hours, in addition to the budget of the search",
        "trial 2 has the best mean, val/mAP 0.6400: kmcl promote takes this trial",
        "trial 3 had the best value of the search, 0.7000. Its mean over 3 new seeds is 0.6100, 0.0900 worse: the best "
        "of many values is partly luck",
    ]
    assert promoted_row(board).number == 2
    # The best trial is compared with the best baseline on the seeds that both finished.
    assert board.baseline_verdict.startswith("trial 3 compared with asymmetric: ")
    assert board.baseline_verdict.endswith("2 seeds)")
    shown = kmcl("leaderboard", "w", "--store", str(store.root)).output
    assert all(line in shown for line in [*found.sentences(), board.baseline_verdict])
    tree = json.loads(kmcl("leaderboard", "w", "--json", "--store", str(store.root)).stdout)
    assert [one["number"] for one in tree["finalists"]["trials"]] == [2, 3, 1]


def test_smaller_is_better(store: Store) -> None:
    found = score_finalists(store, "w", write_search(store, "train/loss, mode: minimize"))
    assert [one.number for one in found.trials] == [3, 2, 1]
    # Trial 1 has the smallest own value of the three.
    assert found.sentences()[-1].startswith("trial 1 (baseline asymmetric) had the best value of the search, 0.5000. ")


def test_a_better_trial_that_was_found_later_ends_the_finalists_choice(store: Store) -> None:
    record_finalists(store, "w", write_search(store))
    file = parse_search_file(FILE.replace(b"METRIC", b"val/mAP"), "w.yaml")
    write_trials(store, file, {4: 0.8})
    board = read_leaderboard(store, "w")
    assert read_finalists(board) is None
    assert promoted_row(board).number == 4


def test_a_lead_that_the_seeds_cannot_show_is_called_so() -> None:
    def results(deviation: float | None) -> FinalistResults:
        best = Finalist(number=4, baseline="", own=0.6, finished=2, mean=0.64, deviation=deviation)
        second = Finalist(number=1, baseline="bce", own=0.7, finished=2, mean=0.60, deviation=deviation)
        return FinalistResults("val/mAP", 1, 2, 8, 0.1, (best, second))

    doubt = "its lead over trial 1 (baseline bce), 0.0400, is less than 2 seeds can tell (0.1000): more seeds (finalists.seeds)"
    assert any(line.startswith(doubt) for line in results(0.05).sentences())
    for sure in (0.001, None):
        assert not any(line.startswith("its lead") for line in results(sure).sentences())
