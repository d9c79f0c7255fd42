"""A small search file, and what tests of its study need."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.search.sampling.mirrored_storage import MirroredStorage
from kmcl_platform.search.study.study import DurableStudy

FILE = """
name: s
base: {num_epochs: 4}
space:
  loss.objective: {kind: choice, choices: [kmcl, bce]}
  loss.temperature: {kind: loguniform, low: 0.05, high: 1, when: {loss.objective: kmcl}}
  optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}
budget: {trials: 6}
scheduler: {kind: successive_halving, min_epochs: 1, reduction_factor: 2}
sampler: {kind: tpe, startup_trials: 2, seed: 5}
"""


def search_file(text: str = FILE) -> SearchFile:
    return parse_search_file(text.encode(), "s.yaml")


def score(study: DurableStudy, number: int) -> float:
    """A trial's value: the best one has the learning rate 0.01."""
    return -abs(study.point(number).config.optim.lr - 0.01)


def finish(study: DurableStudy, number: int) -> None:
    """Report all epochs of a trial, and complete it."""
    for epoch in range(1, 5):
        study.report(number, epoch, score(study, number))
    study.tell(number, "completed", score(study, number))


def states_of(url: str) -> list[TrialState]:
    return [trial.state for trial in optuna.load_study(study_name="s", storage=url).get_trials()]


class KilledError(BaseException):
    """Stands for a SIGKILL."""


POINT_WRITES = ("create_new_trial", "set_trial_param", "set_trial_user_attr")
"""The writes of a point, in their order: the trial, its parameters, its mark."""


def kill_after(num_written: int, patch: pytest.MonkeyPatch, writes: tuple[str, ...] = POINT_WRITES) -> None:
    """Allow so many of these writes, then die before the next one."""
    written = 0

    def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any, **named: Any) -> Any:
            nonlocal written
            if written == num_written:
                raise KilledError
            written += 1
            return method(*arguments, **named)

        return write

    for name in writes:
        patch.setattr(MirroredStorage, name, wrap(getattr(MirroredStorage, name)))
