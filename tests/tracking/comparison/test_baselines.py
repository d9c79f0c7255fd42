"""The result of a search in one line: its best trial compared with its best baseline."""

import pytest

from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store
from kmcl_platform.tracking.comparison.baselines import (
    Contender,
    compare_baselines,
    compare_leaderboard,
)
from kmcl_platform.tracking.comparison.leaderboard_text import to_table
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.tracking.runs.names import BASELINE_VERDICT_TAG
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome
from tests.support.command_line import kmcl

FILE = b"""
name: w
base: {num_epochs: 1}
space:
  loss.contrastive_weight: {kind: loguniform, low: 0.01, high: 10, zero: true}
  loss.reconstruction_weight: {kind: loguniform, low: 0.01, high: 10, zero: true}
budget: {trials: 9}
"""
UNKNOWN = "one seed: whether this is more than noise between seeds is not known"


def text_of(*contenders: tuple[int, str, float, bool], sign: int = 1, kmcl: bool = True, verdict: str = "") -> str:
    ordered = sorted((Contender(*one) for one in contenders), key=lambda one: -sign * one.objective)
    return str(compare_baselines(ordered, metric="val/mAP", sign=sign, kmcl=kmcl, verdict=verdict))


def test_the_best_trial_with_a_kernel_term_and_the_best_baseline() -> None:
    trials = ((0, "kmcl", 0.4, True), (1, "asymmetric", 0.5, False), (2, "bce", 0.45, False), (4, "", 0.48, True))
    line = "best KMCL trial: 4, val/mAP 0.4800; best baseline: asymmetric (trial 1), 0.5000; difference -0.0200, worse"
    assert text_of(*trials) == f"{line}; {UNKNOWN}"
    # The plain asymmetric loss: both kernel terms are left out.
    assert text_of(*trials, (5, "", 0.6, False)) == f"{line}; {UNKNOWN}"
    assert text_of(*trials, (5, "", 0.6, False), kmcl=False).startswith(
        "best trial apart from the baselines: 5, val/mAP 0.6000; "
    )


def test_baselines_without_a_value_are_named() -> None:
    contenders = [Contender(4, "", 0.6, True), Contender(0, "kmcl", 0.4, True)]
    compared = compare_baselines(contenders, metric="val/mAP", sign=1, kmcl=True, failed=["asymmetric", "bce"])
    assert "best baseline: kmcl (trial 0), 0.4000; without a value: asymmetric, bce; difference" in str(compared)
    alone = compare_baselines(contenders[1:], metric="val/mAP", sign=1, kmcl=True, failed=["bce"])
    assert str(alone).endswith("best baseline: kmcl (trial 0), val/mAP 0.4000; without a value: bce")


def test_smaller_is_better() -> None:
    line = text_of((0, "kmcl", 0.4, True), (1, "", 0.3, True), sign=-1)
    assert "difference -0.1000, better; " in line


def test_no_trial_or_no_baseline() -> None:
    assert text_of((0, "kmcl", 0.4, True), (1, "", 0.9, False)) == (
        "no KMCL trial apart from the baselines has all epochs; best baseline: kmcl (trial 0), val/mAP 0.4000"
    )
    assert text_of((1, "", 0.9, True)) == "None"


def test_the_comparison_on_several_seeds_is_shown_only_for_these_trials() -> None:
    trials = ((1, "asymmetric", 0.5, False), (4, "", 0.6, True))
    verdict = "trial 4 compared with asymmetric: no difference shown (val/mAP +0.0010, 5 seeds)"
    assert text_of(*trials, verdict=verdict).endswith(
        f"better; that is with the search's own seed; with new seeds: {verdict}"
    )
    assert text_of(*trials, verdict=verdict.replace("trial 4", "trial 3")).endswith(UNKNOWN)


def test_names_and_the_line_come_from_the_record(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file = parse_search_file(FILE, "w.yaml")
    runs = SearchRuns.open(store, file, FILE, "w.yaml")
    zero = {"loss.contrastive_weight": 0.0, "loss.reconstruction_weight": 0.0}
    for number, (name, values, objective) in enumerate(
        [("kmcl", {}, 0.4), ("asymmetric", {"loss.objective": "asymmetric"}, 0.5), ("", zero, 0.7), ("", {}, 0.6)]
    ):
        runs.trials.begin(number, file.base.with_values(values), baseline=bool(name), baseline_name=name)  # type: ignore[arg-type]
        runs.trials.log_epochs(number, [])
        connect(store).log_metric(runs.trials.all_runs()[-1].info.run_id, "epochs", 1)
        runs.trials.end(number, TrialOutcome.COMPLETED, objective=objective)
    runs.trials.begin(4, file.base.with_values({"loss.objective": "bce"}), baseline=True, baseline_name="bce")
    runs.trials.end(4, TrialOutcome.DIVERGED, objective=None, reason="diverged at step 3")
    board = read_leaderboard(store, "w")
    assert [(row.number, row.baseline_name, row.kernel_terms) for row in board.rows[:-1]] == [
        (2, "", False), (3, "", True), (1, "asymmetric", False), (0, "kmcl", True)
    ]  # fmt: skip
    line = (
        "best KMCL trial: 3, val/mAP 0.6000; best baseline: asymmetric (trial 1), 0.5000; without a value: bce; "
        "difference +0.1000, better"
    )
    assert str(compare_leaderboard(board)) == f"{line}; {UNKNOWN}"
    found = connect(store).search_runs([board.experiment_id], "tags.`kmcl.baseline` = 'true'", order_by=["start_time"])
    names = {run.info.run_name: run.data.tags["kmcl.baseline_name"] for run in found}
    assert names == {
        "trial-0000-baseline-kmcl": "kmcl", "trial-0001-baseline-asymmetric": "asymmetric",
        "trial-0004-baseline-bce": "bce",
    }  # fmt: skip
    assert list(to_table(board).columns[1].cells) == ["2", "3", "asymmetric 1", "kmcl 0", "bce 4"]
    shown = kmcl("leaderboard", "w", "--store", str(store.root))
    assert f"{line}; {UNKNOWN}" in shown.output
    verdict = "trial 3 compared with asymmetric: better (val/mAP +0.1)"
    connect(store).set_tag(board.parent_id, BASELINE_VERDICT_TAG, verdict)
    assert str(compare_leaderboard(read_leaderboard(store, "w"))).endswith(verdict)
