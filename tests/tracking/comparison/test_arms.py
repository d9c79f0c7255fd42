"""The verdict on arms: paired t-tests with Holm's correction, and a text that says no more than the tests show."""

import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from scipy.stats import ttest_rel

from kmcl_platform.config.arms import expand_arms, retrain_best, to_yaml
from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store
from kmcl_platform.tracking.comparison.arms import Comparison, compare_arms, compare_retrained, record_verdict
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.tracking.runs.names import BASELINE_VERDICT_TAG, VERDICT_TAG
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome

ARMS = b"""
name: race
base: {num_epochs: 1}
arms: {bce: {loss.objective: bce}, kmcl: {loss.objective: kmcl}, asl: {loss.objective: asymmetric}}
space: {optim.lr: {kind: loguniform, low: 1e-5, high: 1e-2}}
budget: {trials: 2}
verdict: {seeds: 4}
"""


def compared(arm: list[float], reference: list[float], *, sign: int = 1) -> Comparison:
    scores = {"b": dict(enumerate(reference)), "a": dict(enumerate(arm))}
    (found,) = compare_arms(scores, metric="val/mAP", sign=sign)
    return found


def random_scores(rng: np.random.Generator, arms: int, seeds: int) -> dict[str, dict[int, float]]:
    return {f"arm {arm}": dict(enumerate(rng.normal(0.8, 0.01, seeds).tolist())) for arm in range(arms)}


def test_one_comparison_is_a_paired_t_test_at_95_percent() -> None:
    rng = np.random.default_rng(0)
    arm, reference = rng.normal(0.8, 0.02, 7), rng.normal(0.79, 0.02, 7)
    test = ttest_rel(arm, reference)
    expected = test.confidence_interval(0.95)
    found = compared(arm.tolist(), reference.tolist())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx((arm - reference).mean())
    assert found.adjusted_p_value == found.p_value == pytest.approx(test.pvalue)
    assert found.confidence == 0.95


def test_the_correction_is_that_of_holm() -> None:
    """The oracle: statsmodels' formula, max over j <= i of (m - j) p_(j), written with NumPy."""
    rng = np.random.default_rng(1)
    scores = random_scores(rng, 7, 6)
    scores["arm 3"] = {seed: value + 0.02 for seed, value in scores["arm 3"].items()}
    found = compare_arms(scores, metric="val/mAP", sign=1)
    p_values = np.array([one.p_value for one in found])
    order = np.argsort(p_values)
    expected = np.empty(6)
    expected[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * (6 - np.arange(6))))
    assert [one.adjusted_p_value for one in found] == pytest.approx(expected.tolist())
    assert [one.arm for one in found] == [f"arm {arm}" for arm in range(1, 7)]
    assert {one.num_comparisons for one in found} == {6}


def test_without_any_difference_few_files_show_one() -> None:
    """Ten arms that do not differ: at most 5 % of the files may show a difference, and uncorrected about a third do."""
    rng = np.random.default_rng(2)
    num_files, uncorrected, corrected = 600, 0, 0
    for _ in range(num_files):
        found = compare_arms(random_scores(rng, 10, 5), metric="val/mAP", sign=1)
        corrected += any(one.better for one in found)
        uncorrected += any(one.p_value is not None and one.p_value <= 0.05 for one in found)
    assert uncorrected / num_files > 0.2
    # Three standard errors of a share of 5 %.
    assert corrected / num_files < 0.05 + 3 * (0.05 * 0.95 / num_files) ** 0.5


def test_the_interval_excludes_zero_exactly_where_a_difference_is_shown() -> None:
    rng = np.random.default_rng(3)
    shown = 0
    for _ in range(100):
        scores = random_scores(rng, 5, 5)
        for arm in ("arm 1", "arm 2"):
            scores[arm] = {seed: value + 0.02 for seed, value in scores[arm].items()}
        for one in compare_arms(scores, metric="val/mAP", sign=1):
            assert one.low is not None and one.high is not None
            assert (one.better is None) == (one.low <= 0 <= one.high)
            shown += one.better is not None
    assert 50 < shown < 350


def test_after_the_first_comparison_without_a_difference_all_others_stay_at_its_level() -> None:
    """Each of two equal arms would be significant alone, and the second one also at the level of the last step."""
    differences = [0.02, 0.003, 0.03, 0.005, 0.015]
    arm = {seed: 0.5 + difference for seed, difference in enumerate(differences)}
    found = compare_arms({"b": dict.fromkeys(arm, 0.5), "a": arm, "c": arm}, metric="val/mAP", sign=1)
    for one in found:
        assert one.p_value is not None and 0.025 < one.p_value < 0.05
        assert (one.adjusted_p_value, one.better) == (pytest.approx(2 * one.p_value), None)
        assert one.confidence == 0.975
        assert one.low is not None and one.low < 0


def test_the_text_names_the_result() -> None:
    better = compared([0.80, 0.82, 0.81], [0.70, 0.71, 0.705])
    assert (better.better, better.num_seeds) == ("a", 3)
    assert str(better) == (
        "a compared with b: better (val/mAP +0.1050, 95 % interval [+0.0926, +0.1174], p = 0.00076, 3 seeds)"
    )
    worse = compared([0.70, 0.71, 0.705], [0.80, 0.82, 0.81])
    assert worse.better == "b"
    assert str(worse).startswith("a compared with b: worse (val/mAP -0.1050, 95 % interval [-0.1174")
    unclear = compared([0.80, 0.70, 0.81], [0.79, 0.75, 0.80])
    assert unclear.better is None
    assert str(unclear).startswith("a compared with b: no difference shown (val/mAP -0.0100, 95 % interval [")
    scores = {"b": {1: 0.5, 2: 0.51}, "a": {1: 0.6, 2: 0.62}, "c": {1: 0.7, 2: 0.71}}
    first, second = map(str, compare_arms(scores, metric="val/mAP", sign=1))
    assert "95 % interval" in first and "97.5 % interval" in second
    assert "after Holm's correction for 2 comparisons, 2 seeds" in first


def test_a_smaller_loss_is_better() -> None:
    assert compared([0.2, 0.21, 0.2], [0.3, 0.32, 0.31], sign=-1).better == "a"
    assert compared([0.3, 0.32, 0.31], [0.2, 0.21, 0.2], sign=-1).better == "b"


def test_equal_scores_show_no_difference_and_equal_differences_show_one() -> None:
    same = compared([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])
    assert (same.p_value, same.better, same.low, same.high) == (1.0, None, 0.0, 0.0)
    assert compared([0.75, 0.75], [0.5, 0.5]).better == "a"


def test_only_seeds_that_both_finished_are_compared() -> None:
    scores = {"b": {2: 0.5, 3: 0.8, 4: 0.1}, "a": {1: 0.5, 2: 0.6, 3: 0.9}}
    (found,) = compare_arms(scores, metric="val/mAP", sign=1)
    assert found.num_seeds == 2
    assert found.mean == pytest.approx(0.1)


@pytest.mark.parametrize(("reference", "count"), [({}, 0), ({1: 0.5}, 1)])
def test_one_pair_gives_no_verdict_and_is_not_counted_as_a_test(reference: dict[int, float], count: int) -> None:
    (found,) = compare_arms({"b": reference, "a": {1: 0.5, 2: 0.6}}, metric="val/mAP", sign=1)
    assert found.better is None
    assert str(found) == f"a compared with b: no verdict from {count} seeds that both finished; valid: 2 or more"
    scores = {"b": {1: 0.5, 2: 0.51}, "a": {1: 0.6, 2: 0.62}, "c": {1: 0.7}}
    assert [one.num_comparisons for one in compare_arms(scores, metric="val/mAP", sign=1)] == [1, 0]


def write_retraining(store: Store, search: SearchFile, scores: list[float | None]) -> str:
    """Write a finished search of retrained trials. A score of None is a trial that failed."""
    runs = SearchRuns.open(store, search, to_yaml(search), "race.yaml")
    for number, (seed, score) in enumerate(zip(search.space["seed"].edges(), scores, strict=True)):
        runs.trials.begin(number, search.base.with_values({"seed": seed}), baseline=False)
        if score is None:
            runs.trials.end(number, TrialOutcome.FAILED, "diverged", objective=None)
        else:
            runs.trials.log_epochs(number, [(EpochReport(epoch=1, metrics={"val/mAP": score}, seconds=1.0), None)])
            runs.trials.end(number, TrialOutcome.COMPLETED, objective=score)
    runs.end("finished")
    return search.name


def test_the_arms_are_compared_and_recorded_from_mlflows_runs(store: Store) -> None:
    file = parse_search_file(ARMS, "race.yaml")
    scores: dict[str, list[float | None]] = {
        "bce": [0.70, 0.71, 0.70, 0.72], "kmcl": [0.75, 0.77, 0.75, 0.76], "asl": [0.71, None, 0.69, 0.72]
    }  # fmt: skip
    names, retrained = [], {}
    for arm, search in zip(file.arms, expand_arms(file), strict=True):
        SearchRuns.open(store, search, to_yaml(search), "race.yaml").end("finished")
        names.append(search.name)
        again = retrain_best(search, 1, search.base, 4)
        retrained[arm] = write_retraining(store, again, scores[arm])
    kmcl, asl = compare_retrained(store, retrained)
    assert (kmcl.arm, kmcl.reference, kmcl.num_seeds, kmcl.better) == ("kmcl", "bce", 4, "kmcl")
    assert (asl.arm, asl.num_seeds, asl.better) == ("asl", 3, None)
    for _ in range(2):
        record_verdict(store, names, [kmcl, asl])
    client = MlflowClient(store.tracking_uri)
    for name in names:
        experiment = client.get_experiment_by_name(name)
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.data.tags[VERDICT_TAG] == f"{kmcl}\n{asl}"
        document = json.loads(Path(client.download_artifacts(run.info.run_id, "verdict.json")).read_text())
        assert (document["alpha"], document["correction"]) == (0.05, "holm")
        assert [one["better"] for one in document["comparisons"]] == ["kmcl", None]
        assert document["comparisons"][0]["mean"] == kmcl.mean
        assert BASELINE_VERDICT_TAG not in run.data.tags
    record_verdict(store, names[:1], [kmcl], of_baselines=True)
    assert client.get_run(read_leaderboard(store, names[0]).parent_id).data.tags[BASELINE_VERDICT_TAG] == str(kmcl)
