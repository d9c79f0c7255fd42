"""The adaptive scheduler: it stops nobody before the order is known, finds its rung, and gives a wrong one up."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from kmcl_platform.components.schedulers.adaptive import Adaptive
from kmcl_platform.components.schedulers.pruners.adaptive import RUNG_HISTORY
from kmcl_platform.components.schedulers.pruners.rungs import read_verdict
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.errors import ConfigError
from kmcl_platform.search.study.study import DurableStudy

NUM_EPOCHS = 6
FILE = """
name: s
base: {num_epochs: 6}
baseline: false
baselines: []
space: {optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}}
budget: {trials: 200}
scheduler: {kind: adaptive, continued_share: SHARE}
sampler: {kind: random}
"""

Curve = Callable[[int, int], float]
"""The value of a trial after an epoch."""


def open_study(url: str, said: list[str], *, share: float = 0.0) -> DurableStudy:
    return DurableStudy(url, parse_search_file(FILE.replace("SHARE", str(share)).encode(), "s.yaml"), said.append)


def run(study: DurableStudy, count: int, curve: Curve) -> list[int]:
    """Run so many trials one after another; returns the epochs that each of them trained."""
    lengths = []
    for _ in range(count):
        point = study.next_point()
        assert point is not None
        for epoch in range(1, NUM_EPOCHS + 1):
            study.report(point.number, epoch, curve(point.number, epoch))
            if study.should_prune(point.number):
                study.tell(point.number, "pruned")
                break
        else:
            study.tell(point.number, "completed", curve(point.number, NUM_EPOCHS))
        lengths.append(epoch)
    return lengths


def quality(number: int) -> float:
    return random.Random(number).random()


def settles_at(first: int) -> Curve:
    """Curves whose order is unrelated to the end before the epoch `first`, and that of the end from then on."""
    return lambda number, epoch: quality(number) + epoch if epoch >= first else random.Random(-number - epoch).random()


@pytest.mark.parametrize("first", [1, 3])
def test_the_first_rung_is_where_the_order_is_that_of_the_end(first: int) -> None:
    said: list[str] = []
    study = open_study("memory:", said)
    lengths = run(study, 40, settles_at(first))
    assert lengths[:5] == [NUM_EPOCHS] * 5
    # Trials are stopped at the rung and nowhere else.
    assert set(lengths) <= {first, 3 * first, NUM_EPOCHS}
    assert sum(length == first for length in lengths) > 15
    assert len(said) == 1
    assert said[0].startswith(f"early stopping: the first rung is epoch {first}: the order of 5 trials of full length")
    assert study._study.user_attrs[RUNG_HISTORY] == [{"epoch": first, "trials": 5}]


def test_without_agreement_nobody_is_stopped() -> None:
    said: list[str] = []
    lengths = run(open_study("memory:", said), 30, settles_at(NUM_EPOCHS))
    assert lengths == [NUM_EPOCHS] * 30
    assert said == []


def test_a_rung_that_proves_wrong_is_given_up() -> None:
    """The first trials are in the same order at every epoch. All later ones change theirs at the end."""

    def curve(number: int, epoch: int) -> float:
        if number < 6:
            return number + epoch / 10
        return quality(number) if epoch < NUM_EPOCHS else 1 - quality(number)

    said: list[str] = []
    study = open_study("memory:", said, share=1.0)
    lengths = run(study, 40, curve)
    # All losers are spared here, so that the order of all trials is known.
    assert lengths == [NUM_EPOCHS] * 40
    assert said[0].startswith("early stopping: the first rung is epoch 1: the order of 5 trials")
    assert said[1].startswith("early stopping: the first rung, epoch 1, is given up: among ")


def test_a_share_of_the_losers_trains_to_the_end() -> None:
    said: list[str] = []
    study = open_study("memory:", said, share=0.3)
    run(study, 150, settles_at(1))
    verdicts = [read_verdict(trial, 1) for trial in study.counted()]
    losers = [verdict for verdict in verdicts if verdict and (verdict.stopped or verdict.spared)]
    share = sum(verdict.spared for verdict in losers) / len(losers)
    assert len(losers) > 60 and 0.15 < share < 0.45
    # A spared trial is not stopped at the next rung either.
    spared = [trial for trial, verdict in zip(study.counted(), verdicts, strict=True) if verdict and verdict.spared]
    assert {trial.last_step for trial in spared} == {NUM_EPOCHS}


def test_a_continued_search_gives_the_same_verdicts(tmp_path: Path) -> None:
    """A driver is killed before each trial: every decision is that of the search without kills."""
    curve = settles_at(2)
    whole = run(open_study("memory:", [], share=0.2), 24, curve)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    said: list[str] = []
    parts = [length for _ in range(24) for length in run(open_study(url, said, share=0.2), 1, curve)]
    assert parts == whole
    assert len(said) == 1


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("{kind: adaptive, min_trials: 4}", "scheduler.min_trials: got 4; valid: "),
        ("{kind: adaptive, agreement: 1}", "scheduler.agreement: got 1; valid: "),
        ("{kind: adaptive, continued_share: 1.5}", "scheduler.continued_share: got 1.5; valid: "),
        ("{kind: adaptive, min_epochs: 2}", "scheduler.min_epochs: unknown name; valid: "),
    ],
)
def test_wrong_settings_are_refused(scheduler: str, message: str) -> None:
    text = FILE.replace("{kind: adaptive, continued_share: SHARE}", scheduler)
    with pytest.raises(ConfigError) as error:
        parse_search_file(text.encode(), "s.yaml")
    assert message in str(error.value)
    assert Adaptive().min_trials == 5
