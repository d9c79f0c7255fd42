"""A diverged trial: the sampler learns that its region is bad, and nothing else uses its value as a result."""

from pathlib import Path

import optuna
import pytest

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.search.study.storage import MEMORY
from kmcl_platform.search.study.study import DurableStudy

FILE = """
name: s
base: {num_epochs: 1, optim: {lr: 0.001}}
space: {optim.lr: {kind: loguniform, low: 1e-4, high: 1}}
objective: {metric: METRIC}
baselines: []
budget: {trials: 18}
scheduler: {kind: none}
sampler: {kind: KIND, startup_trials: 5, seed: 3}
"""
METRICS = {"maximize": "val/mAP", "minimize": "train/loss, mode: minimize"}


def search(kind: str, mode: str) -> SearchFile:
    return parse_search_file(FILE.replace("KIND", kind).replace("METRIC", METRICS[mode]).encode(), "s.yaml")


def count_diverging(url: str, file: SearchFile, end: str) -> tuple[int, DurableStudy]:
    """Run a search whose trials diverge above a learning rate of 0.01, up to which a higher rate is better."""
    study, diverging = DurableStudy(url, file), 0
    while (point := study.next_point()) is not None:
        lr = point.config.optim.lr
        if lr > 0.01:
            diverging += 1
            study.tell(point.number, end)  # type: ignore[arg-type]
        else:
            value = file.objective.sign * lr
            study.report(point.number, 1, value)
            study.tell(point.number, "completed", value)
    return diverging, study


@pytest.mark.parametrize(("kind", "mode"), [("tpe", "maximize"), ("tpe", "minimize"), ("gp", "maximize")])
def test_the_sampler_avoids_the_region_of_diverged_trials(kind: str, mode: str) -> None:
    file = search(kind, mode)
    ignored, _ = count_diverging(MEMORY, file, "failed")
    told, study = count_diverging(MEMORY, file, "diverged")
    # With a value of the wrong sign, which is the best there is, almost as many are asked as without any value.
    assert told < 0.8 * ignored
    assert list(study.ended.ends.values()).count("diverged") == told
    best = study.best_value()
    assert best is not None and 0 < file.objective.sign * best <= 0.01
    diverged = {number for number, end in study.ended.ends.items() if end == "diverged"}
    assert not diverged & set(study.ended.best(30))
    assert all(study.value(number) is None for number in diverged)


@pytest.mark.parametrize(("mode", "worst"), [("maximize", float("-inf")), ("minimize", float("inf"))])
def test_the_value_of_a_diverged_trial_is_never_a_result(mode: str, worst: float, tmp_path: Path) -> None:
    file, url = search("random", mode), f"sqlite:///{tmp_path}/s.db"
    study = DurableStudy(url, file)
    for end, value in (("diverged", None), ("completed", 0.5), ("diverged", None)):
        point = study.next_point()
        assert point is not None
        study.report(point.number, 1, 0.4)
        study.tell(point.number, end, value)  # type: ignore[arg-type]
    assert study.best_value() == 0.5
    assert study.ended.best(3) == [1]
    assert study.value(0) == 0.4, "the last value that it reported"
    assert DurableStudy(url, file).ended.ends == {0: "diverged", 1: "completed", 2: "diverged"}

    stored = optuna.load_study(study_name="s", storage=url)
    assert stored.trials[0].value == worst


def test_patience_counts_diverged_trials(tmp_path: Path) -> None:
    text = FILE.replace("KIND", "random").replace("METRIC", METRICS["maximize"])
    file = parse_search_file(text.replace("trials: 18", "trials: 18, patience: 2").encode(), "s.yaml")
    study = DurableStudy(f"sqlite:///{tmp_path}/s.db", file)
    for end in ("completed", "diverged", "diverged"):
        point = study.next_point()
        assert point is not None
        study.tell(point.number, end, 0.1 if end == "completed" else None)  # type: ignore[arg-type]
    assert study.end_of_budget() == "budget.patience: 2 trials ended without a better one"
