"""The points of a search: a killed driver changes neither the points nor their order."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import ConfigError
from kmcl_platform.search.sampling.asking import VALUES
from kmcl_platform.search.study.study import DurableStudy
from tests.search.study.small_study import FILE, KilledError, finish, kill_after, score, search_file, states_of

Asked = tuple[list[TrialConfig], list[TrialState]]
"""The trials of a search in their order, and how each ended."""

GRID = """
name: s
base: {num_epochs: 4, optim: {lr: 0.01}}
space:
  loss.objective: {kind: choice, choices: [kmcl, bce]}
  optim.lr: {kind: choice, choices: [0.1, 0.01, 0.001]}
budget: {trials: 6}
scheduler: {kind: none}
sampler: {kind: grid}
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/optuna.db"


def test_a_conditional_value_is_drawn_only_if_its_condition_holds(url: str) -> None:
    study = DurableStudy(url, search_file())
    while (point := study.next_point()) is not None:
        finish(study, point.number)
    for trial in study.counted():
        assert ("loss.temperature" in trial.user_attrs[VALUES]) == (trial.params["loss.objective"] == "kmcl")
    assert {trial.params["loss.objective"] for trial in study.counted()} == {"kmcl", "bce"}


def test_a_continued_search_has_the_points_of_an_undisturbed_one(tmp_path: Path) -> None:
    asked: list[list[object]] = []
    for name, restarts in (("undisturbed", False), ("killed", True)):
        url = f"sqlite:///{tmp_path}/{name}.db"
        study = DurableStudy(url, search_file())
        values = []
        while (point := study.next_point()) is not None:
            values.append(point.config)
            if restarts:
                study = DurableStudy(url, search_file())  # As after a SIGKILL during the trial.
                again = study.next_point()
                assert again is not None
                assert again == point
            finish(study, point.number)
        asked.append(values)
    assert asked[0] == asked[1]


def test_a_grid_begins_with_the_base_and_has_each_point_once(url: str) -> None:
    study, asked = DurableStudy(url, search_file(GRID)), []
    while (point := study.next_point()) is not None:
        asked.append((point.config.loss.objective, point.config.optim.lr))
        finish(study, point.number)
        study = DurableStudy(url, search_file(GRID))
    assert asked == [
        ("kmcl", 0.01), ("kmcl", 0.1), ("kmcl", 0.001), ("bce", 0.1), ("bce", 0.01), ("bce", 0.001)
    ]  # fmt: skip


def test_a_start_reads_the_trials_as_often_for_a_large_grid_as_for_a_small_one(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grid of 1,000 points was compared with 1,000 trials for each of its points, at every start."""
    real, reads = optuna.Study._get_trials, 0

    def count(self: optuna.Study, *words: Any, **options: Any) -> Any:
        nonlocal reads
        reads += 1
        return real(self, *words, **options)

    monkeypatch.setattr(optuna.Study, "_get_trials", count)
    numbers = []
    for text in (GRID, GRID.replace("[0.1, 0.01, 0.001]", str([0.1, 0.01, *(k / 1e4 for k in range(1, 20))]))):
        reads = 0
        # Another name: the database has the study of the other grid.
        name = f"grid{len(numbers)}"
        DurableStudy(url, search_file(text).model_copy(update={"name": name}))
        numbers.append(reads)
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("trials: 6", "trials: 7"), "budget.trials: got 7; valid: at most 6, the points of the grid"),
        (
            ("kind: choice, choices: [0.1, 0.01, 0.001]", "kind: uniform, low: 0, high: 1"),
            "sampler.kind: got grid; valid: another, because space.optim.lr is not a choice without `when`",
        ),
        (
            ("0.001]", "0.001], when: {loss.objective: bce}"),
            "sampler.kind: got grid; valid: another, because space.optim.lr is not a choice without `when`",
        ),
    ],
)
def test_a_space_that_is_not_a_grid_is_refused(change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search_file(GRID.replace(*change))


def run_to_the_end(url: str, text: str, kill: Callable[[], AbstractContextManager[object]] | None = None) -> Asked:
    """Draw all trials and complete each. With `kill`, each trial has two drivers, and `kill` ends the first one."""
    study, asked = DurableStudy(url, search_file(text)), []
    while True:
        if kill:
            with kill():
                study.next_point()
            study = DurableStudy(url, search_file(text))
        if (point := study.next_point()) is None:
            return asked, states_of(url)
        asked.append(point.config)
        study.tell(point.number, "completed", score(study, point.number))


@pytest.fixture(
    scope="module", params=[FILE, FILE.replace("kind: tpe", "kind: random"), GRID], ids=["tpe", "random", "grid"]
)
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Asked]:
    """A search file, and the trials of its search without a kill."""
    # Three trials: the base, one drawn at random, and one that TPE draws.
    text = request.param.replace("trials: 6", "trials: 3")
    return text, run_to_the_end(f"sqlite:///{tmp_path_factory.mktemp('study')}/undisturbed.db", text)


@pytest.mark.parametrize("num_written", [0, 1, 2, 3, 4])
def test_a_driver_may_die_at_any_write_while_it_draws_a_point(
    undisturbed: tuple[str, Asked], num_written: int, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def kill() -> Iterator[None]:
        with monkeypatch.context() as patch, suppress(KilledError):
            kill_after(num_written, patch)
            yield

    text, expected = undisturbed
    assert expected[1].count(TrialState.COMPLETE) == 3
    assert run_to_the_end(url, text, kill) == expected
