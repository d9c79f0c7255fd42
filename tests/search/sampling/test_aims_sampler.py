"""Searches with several objectives or constraints: the samplers see all of them, and a killed driver changes nothing."""

import math
from pathlib import Path

import pytest
from optuna.trial import TrialState

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.search.sampling.aims_sampler import AimsSampler
from kmcl_platform.search.study.ended_trials import judge_epoch
from kmcl_platform.search.study.study import DurableStudy
from tests.search.study.small_study import KilledError, kill_after

FILE = """
name: s
base: {{num_epochs: 1, model: {{reduced_dim: 8, kernel: anisotropic}}}}
baselines: []
{aims}
space:
  model.reduced_dim: {{kind: int, low: 2, high: 256, log: true}}
  optim.lr: {{kind: loguniform, low: 1e-4, high: 1e-1}}
budget: {{trials: {trials}}}
sampler: {{kind: {sampler}, seed: 3}}
"""
TWO = "objectives: [{metric: val/mAP}, {metric: latency_ms}]"
SAMPLERS = ["tpe, startup_trials: 4", "nsga2, population: 4", "gp, startup_trials: 4", "random", "qmc"]


def read(aims: str, sampler: str = SAMPLERS[0], trials: int = 14) -> SearchFile:
    return parse_search_file(FILE.format(aims=aims, sampler=sampler, trials=trials).encode(), "s.yaml")


def train(study: DurableStudy, file: SearchFile) -> list[object]:
    """Train until the budget is spent: wide models are better and slower; the learning rate should be 0.01."""
    values: list[object] = []
    while (point := study.next_point()) is not None:
        width, lr = point.config.model.reduced_dim, point.config.optim.lr
        values.append((width, lr))
        score = width / 256 - abs(lr - 0.01)
        aims = {"latency_ms": width / 10.0}
        end = judge_epoch(study, point, 1, score, seconds=1, num_epochs=1, aims=aims)
        if file.constraints and aims["latency_ms"] > 5:
            end = "pruned"
        assert end is not None
        study.tell(point.number, end, score if end == "completed" else None)
    return values


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("aims", [TWO, TWO + "\nconstraints: {latency_ms: <= 5}"])
def test_each_sampler_takes_several_objectives(sampler: str, aims: str, tmp_path: Path) -> None:
    file = read(aims, sampler)
    study = DurableStudy(f"sqlite:///{tmp_path}/optuna.db", file)
    # A genetic algorithm may draw a point twice.
    assert len(set(train(study, file))) >= (8 if "nsga2" in sampler else 14)
    front = study.ended.front()
    assert front
    assert study.ended.best(1)[0] in front, "the best trial of the main objective is a trade-off"
    for trial in study.counted():
        if file.constraints and trial.user_attrs["aims"]["latency_ms"] > 5:
            assert trial.number not in front


def test_a_second_objective_changes_the_points(tmp_path: Path) -> None:
    points = []
    for name, aims in (("one", "scheduler: {kind: none}"), ("two", TWO)):
        file = read(aims, trials=40)
        points.append(train(DurableStudy(f"sqlite:///{tmp_path}/{name}.db", file), file))
    one, two = ([width for width, _ in found] for found in points)  # type: ignore[misc]
    assert one[:4] == two[:4], "the random points are the same"
    # With accuracy alone only wide models are good; with latency narrow ones are good too.
    assert sum(two[10:]) < 0.9 * sum(one[10:])


def test_a_constraint_keeps_the_points_inside(tmp_path: Path) -> None:
    shares = []
    for name, more in (("free", ""), ("bounded", "\nconstraints: {latency_ms: <= 5}")):
        file = read("scheduler: {kind: none}" + more, trials=40)
        study = DurableStudy(f"sqlite:///{tmp_path}/{name}.db", file)
        widths = [width for width, _ in train(study, file)]  # type: ignore[misc]
        shares.append(sum(width <= 50 for width in widths[10:]) / 30)
    assert shares[1] > shares[0] + 0.2


@pytest.mark.parametrize("sampler", SAMPLERS[:3])
@pytest.mark.parametrize("written", [1, 2, 3])
def test_a_driver_that_dies_while_it_draws_changes_no_point(
    sampler: str, written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = read(TWO, sampler, trials=8)
    undisturbed = train(DurableStudy(f"sqlite:///{tmp_path}/undisturbed.db", file), file)
    url = f"sqlite:///{tmp_path}/killed.db"
    short = read(TWO, sampler, trials=6)
    found = train(DurableStudy(url, short), short)
    study = DurableStudy(url, file)
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        kill_after(written, patch)
        study.next_point()
    # As after a SIGKILL: another process opens the study.
    study = DurableStudy(url, file)
    assert found + train(study, file) == undisturbed


def test_a_diverged_trial_hides_nothing(tmp_path: Path) -> None:
    file = read(TWO, trials=12)
    study = DurableStudy(f"sqlite:///{tmp_path}/optuna.db", file)
    for measured in (True, False):
        point = study.next_point()
        assert point is not None
        if measured:
            study.note_aims(point.number, {"latency_ms": 3.0})
        study.tell(point.number, "diverged")
    assert len(train(study, file)) == 10
    assert study.ended.front()
    # An infinite value would hide all differences of the other objective.
    finite = [one.value for one in study.counted() if one.value is not None and math.isfinite(one.value)]
    seen = AimsSampler(file.sampler.build_sampler(0), file)._seen(study.counted())
    assert seen[0].values == [min(finite), 3.0]
    assert seen[1].state == TrialState.FAIL, "it has no value of the other objective"


def test_a_genetic_algorithm_has_generations(tmp_path: Path) -> None:
    file = read(TWO, "nsga2, population: 4")
    study = DurableStudy(f"sqlite:///{tmp_path}/optuna.db", file)
    train(study, file)
    generations = [
        value for trial in study.counted() for name, value in trial.system_attrs.items() if "generation" in name
    ]
    assert max(generations) >= 2
