"""Successive halving: Optuna's rule, with verdicts that stay as they are."""

import random
from pathlib import Path

import optuna
import pytest
from hypothesis import given, strategies as st
from optuna.storages import RDBStorage

from kmcl_platform.components.schedulers.pruners.rungs import RungVerdict, judge_rung, read_verdict
from kmcl_platform.config.reports.trial_marks import VERDICTS
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.search.study.study import DurableStudy

FILE = """
name: s
base: {num_epochs: 9}
baseline: false
baselines: []
space: {optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}}
budget: {trials: 40}
scheduler: {kind: successive_halving, min_epochs: 2, reduction_factor: 2}
sampler: {kind: random}
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


def open_study(url: str, text: str = FILE) -> DurableStudy:
    return DurableStudy(url, parse_search_file(text.encode(), "s.yaml"))


@given(
    own=st.integers(0, 5),
    others=st.lists(st.integers(0, 5), max_size=12),
    factor=st.integers(2, 5),
    sign=st.sampled_from([1, -1]),
)
def test_the_best_part_goes_on_and_at_least_one(own: int, others: list[int], factor: int, sign: int) -> None:
    verdict = judge_rung(own, others, factor=factor, sign=sign, rung=1, rungs=3)
    better = sum(sign * value > sign * own for value in others)
    assert verdict.place == better + 1
    assert verdict.of == len(others) + 1
    # It goes on if fewer than 1/factor of all, at least one, are better.
    assert verdict.stopped == (better >= max(1, verdict.of // factor))


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("factor", [2, 3])
def test_the_rule_is_that_of_optuna(direction: str, factor: int) -> None:
    """Trials report in random order; Optuna's own pruner decides about the same values."""
    rng = random.Random(factor)
    text = FILE.replace("reduction_factor: 2", f"reduction_factor: {factor}")
    text += f"objective: {{metric: {'val/mAP' if direction == 'maximize' else 'train/loss'}}}\n"
    ours = open_study("memory:", text)
    theirs = optuna.create_study(
        direction=direction, pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=factor)
    )
    running = {}
    stopped = 0
    for _ in range(40):
        point = ours.next_point()
        assert point is not None
        running[point.number] = (theirs.ask(), 0)
    while running:
        number = rng.choice(sorted(running))
        trial, epoch = running[number]
        epoch += 1
        value = rng.choice([0.1, 0.2, 0.3, rng.random()])
        trial.report(value, epoch)
        wanted = trial.should_prune()
        ours.report(number, epoch, value)
        if epoch < 9:
            assert ours.should_prune(number) == wanted
        if wanted or epoch == 9:
            stopped += wanted and epoch < 9
            ours.tell(number, "pruned" if wanted else "completed", None if wanted else value)
            del running[number]
        else:
            running[number] = (trial, epoch)
    assert stopped > 10


def test_a_verdict_is_the_same_after_a_kill(url: str) -> None:
    """The driver dies at any line between the value and the verdict, and other trials report before it is asked again."""
    study = open_study(url)
    for _ in range(4):
        study.next_point()
    study.report(0, 2, 0.5)
    # Trial 1 would go on: it is the best one here. The driver dies before it asks.
    study.report(1, 2, 0.6)
    for number, value in ((2, 0.7), (3, 0.8)):
        study.report(number, 2, value)
        assert not study.should_prune(number)
    again = open_study(url)
    again.report(1, 2, 0.6)
    assert not again.should_prune(1)
    # Trial 0 was the only one when it reported.
    assert not again.should_prune(0)


def test_a_driver_that_dies_before_the_value_keeps_the_verdict(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_study(url)
    for _ in range(3):
        study.next_point()
    study.report(0, 2, 0.5)

    class Killed(Exception):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(RDBStorage, "set_trial_intermediate_value", die)
        with pytest.raises(Killed):
            study.report(1, 2, 0.6)
    study = open_study(url)
    study.report(2, 2, 0.9)
    study.report(1, 2, 0.6)
    assert not study.should_prune(1)
    assert not study.should_prune(2)


def test_the_reason_says_how_the_trial_stood(url: str) -> None:
    study = open_study(url)
    for _ in range(4):
        study.next_point()
    for number, value in ((0, 0.5), (1, 0.6), (2, 0.7)):
        study.report(number, 2, value)
    study.report(3, 2, 0.412)
    assert study.should_prune(3)
    assert study.stop_reason(3) == (
        "stopped early after epoch 2, rung 1 of 3: 0.4120, 4th of 4, best half begins at 0.6000"
    )


def test_a_value_that_an_older_version_reported_is_judged_when_it_is_asked_for(url: str) -> None:
    study = open_study(url)
    for _ in range(3):
        study.next_point()
    for number, value in ((0, 0.5), (1, 0.6), (2, 0.4)):
        study.report(number, 2, value)
    storage = optuna.load_study(study_name="s", storage=url)._storage
    for number in range(3):
        storage.set_trial_user_attr(storage.get_trial_id_from_study_id_trial_number(1, number), VERDICTS, {})
    again = open_study(url)
    assert again.should_prune(2)
    assert "3rd of 3, best half begins at 0.6000" in again.stop_reason(2)


def test_no_verdict_between_the_rungs(url: str) -> None:
    study = open_study(url)
    study.next_point()
    for epoch in range(1, 10):
        study.report(0, epoch, 0.1)
        assert not study.should_prune(0)
    (trial,) = study.counted()
    assert sorted(map(int, trial.user_attrs[VERDICTS])) == [2, 4, 8]
    assert read_verdict(trial, 4) == RungVerdict(2, 3, 0.1, 1, 1, "half", 0.1, False)
    assert read_verdict(trial, 3) is None
