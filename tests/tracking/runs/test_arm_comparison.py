"""The verdict on arms: the interval is Student's, and the words say no more than it."""

import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from scipy.stats import ttest_rel

from kmcl_platform.config.arms import expand_arms, retrain_best, to_yaml
from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.search_file import SearchFile, Verdict
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import Store
from kmcl_platform.tracking.runs.arm_comparison import Comparison, compare, compare_retrained, record_verdict
from kmcl_platform.tracking.runs.names import VERDICT_TAG
from kmcl_platform.tracking.runs.search_run import SearchRuns, TrialOutcome

ARMS = b"""
name: race
base: {num_epochs: 1}
arms: {bce: {loss.objective: bce}, kmcl: {loss.objective: kmcl}, asl: {loss.objective: asymmetric}}
space: {optim.lr: {kind: loguniform, low: 1e-5, high: 1e-2}}
budget: {trials: 2}
verdict: {seeds: 4}
"""


def held(one: list[float], other: list[float], *, sign: int = 1) -> Comparison:
    return compare("a", dict(enumerate(one)), "b", dict(enumerate(other)), metric="val/mAP", sign=sign)


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(0.8, 0.02, 7), rng.normal(0.79, 0.02, 7)
    expected = ttest_rel(one, other).confidence_interval(0.95)
    found = held(one.tolist(), other.tolist())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx((one - other).mean())


def test_words() -> None:
    better = held([0.80, 0.82, 0.81], [0.70, 0.71, 0.705])
    assert (better.better, better.num_seeds) == ("a", 3)
    assert str(better) == "a +0.1050 val/mAP against b, 95 % interval [+0.0926, +0.1174], 3 seeds"
    worse = held([0.70, 0.71, 0.705], [0.80, 0.82, 0.81])
    assert worse.better == "b"
    assert str(worse).startswith("a -0.1050 val/mAP against b, which is worse, 95 % interval [-0.1174")
    open_question = held([0.80, 0.70, 0.81], [0.79, 0.75, 0.80])
    assert open_question.better is None
    assert str(open_question).startswith("a against b: no difference shown (val/mAP -0.0100, 95 % interval [")


def test_of_a_loss_less_is_better() -> None:
    assert held([0.2, 0.21, 0.2], [0.3, 0.32, 0.31], sign=-1).better == "a"
    assert held([0.3, 0.32, 0.31], [0.2, 0.21, 0.2], sign=-1).better == "b"


def test_only_seeds_that_both_finished_are_compared() -> None:
    found = compare("a", {1: 0.5, 2: 0.6, 3: 0.9}, "b", {2: 0.5, 3: 0.8, 4: 0.1}, metric="val/mAP", sign=1)
    assert found.num_seeds == 2
    assert found.mean == pytest.approx(0.1)


@pytest.mark.parametrize(("others", "count"), [({}, 0), ({1: 0.5}, 1)])
def test_one_pair_is_no_verdict(others: dict[int, float], count: int) -> None:
    found = compare("a", {1: 0.5, 2: 0.6}, "b", others, metric="val/mAP", sign=1)
    assert found.better is None
    assert str(found) == f"a against b: no verdict: {count} seeds that both finished; valid: 2 or more"


def write_retraining(store: Store, search: SearchFile, scores: list[float | None]) -> str:
    """A finished search of retrained trials; none: a trial that failed."""
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


def test_judged_and_recorded_from_what_mlflow_holds(store: Store) -> None:
    file = parse_search_file(ARMS, "race.yaml")
    scores: dict[str, list[float | None]] = {
        "bce": [0.70, 0.71, 0.70, 0.72], "kmcl": [0.75, 0.77, 0.75, 0.76], "asl": [0.71, None, 0.69, 0.72]
    }  # fmt: skip
    names, retrained = [], {}
    for arm, search in zip(file.arms, expand_arms(file), strict=True):
        SearchRuns.open(store, search, to_yaml(search), "race.yaml").end("finished")
        names.append(search.name)
        again = retrain_best(search, 1, search.base, Verdict(seeds=4))
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
        assert document["confidence"] == 0.95
        assert [one["better"] for one in document["comparisons"]] == ["kmcl", None]
        assert document["comparisons"][0]["mean"] == kmcl.mean
