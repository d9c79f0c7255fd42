"""DurableStudy: what a killed driver leaves behind, and what a new one does with it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import TrialState

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import ConfigError, SearchError
from kmcl_platform.search.sampling.asking import VALUES
from kmcl_platform.search.study.definition import DEFINITION
from kmcl_platform.search.study.study import DurableStudy

Asked = tuple[list[TrialConfig], list[TrialState]]
"""The trials of a search in their order, and how each ended."""

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


def file(text: str = FILE) -> SearchFile:
    return parse_search_file(text.encode(), "s.yaml")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/optuna.db"


def score(study: DurableStudy, number: int) -> float:
    return -abs(study.config(number).optim.lr - 0.01)


def finish(study: DurableStudy, number: int) -> None:
    for epoch in range(1, 5):
        study.report(number, epoch, score(study, number))
    study.tell(number, "completed", score(study, number))


def states_of(url: str) -> list[TrialState]:
    return [trial.state for trial in optuna.load_study(study_name="s", storage=url).get_trials()]


def test_the_first_trial_is_the_base_and_is_never_pruned(url: str) -> None:
    study = DurableStudy(url, file())
    first = study.next_point()
    assert first is not None
    assert first.baseline
    assert first.config == file().base
    second = study.next_point()
    assert second is not None
    study.report(second.number, 1, 1.0)
    assert not study.should_prune(second.number)
    study.report(first.number, 1, -1.0)
    assert not study.should_prune(first.number)


def test_a_bad_trial_is_pruned_with_its_values_kept(url: str) -> None:
    study = DurableStudy(url, file())
    points = [study.next_point() for _ in range(3)]
    verdicts = []
    for point, value in zip(points, (0.8, 0.9, 0.1), strict=True):
        assert point is not None
        study.report(point.number, 1, value)
        verdicts.append(study.should_prune(point.number))
    assert verdicts == [False, False, True]
    study.tell(2, "pruned")
    frozen = optuna.load_study(study_name="s", storage=url).get_trials()[2]
    assert (frozen.state, frozen.intermediate_values) == (TrialState.PRUNED, {1: 0.1})


def test_a_conditional_value_is_asked_only_where_its_condition_holds(url: str) -> None:
    study = DurableStudy(url, file())
    while (point := study.next_point()) is not None:
        finish(study, point.number)
    for trial in study.counted():
        assert ("loss.temperature" in trial.user_attrs[VALUES]) == (trial.params["loss.objective"] == "kmcl")
    assert {trial.params["loss.objective"] for trial in study.counted()} == {"kmcl", "bce"}


def test_the_budget_is_spent_exactly(url: str) -> None:
    study = DurableStudy(url, file())
    numbers = []
    while (point := study.next_point()) is not None:
        numbers.append(point.number)
        finish(study, point.number)
    assert numbers == list(range(6))
    assert study.end_of_budget() == "budget.trials: all 6 have ended"
    assert DurableStudy(url, file()).next_point() is None


def test_a_continued_search_asks_what_an_undisturbed_one_asks(tmp_path: Path) -> None:
    asked: list[list[object]] = []
    for name, restarts in (("undisturbed", False), ("killed", True)):
        url = f"sqlite:///{tmp_path}/{name}.db"
        study = DurableStudy(url, file())
        values = []
        while (point := study.next_point()) is not None:
            values.append(point.config)
            if restarts:
                study = DurableStudy(url, file())  # As after a SIGKILL in mid-trial.
                again = study.next_point()
                assert again is not None
                assert again == point
            finish(study, point.number)
        asked.append(values)
    assert asked[0] == asked[1]


def test_a_grid_is_asked_point_by_point_the_base_first(url: str) -> None:
    study, asked = DurableStudy(url, file(GRID)), []
    while (point := study.next_point()) is not None:
        asked.append((point.config.loss.objective, point.config.optim.lr))
        finish(study, point.number)
        study = DurableStudy(url, file(GRID))
    assert asked == [
        ("kmcl", 0.01), ("kmcl", 0.1), ("kmcl", 0.001), ("bce", 0.1), ("bce", 0.01), ("bce", 0.001)
    ]  # fmt: skip


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
def test_what_is_no_grid_is_refused(change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        file(GRID.replace(*change))


def run_to_the_end(url: str, text: str, kill: Callable[[], AbstractContextManager[object]] | None = None) -> Asked:
    """Ask for all trials and complete each, by one driver; or by two for each trial, of which `kill` ends the first."""
    study, asked = DurableStudy(url, file(text)), []
    while True:
        if kill:
            with kill():
                study.next_point()
            study = DurableStudy(url, file(text))
        if (point := study.next_point()) is None:
            return asked, states_of(url)
        asked.append(point.config)
        finish(study, point.number)


@pytest.fixture(
    scope="module", params=[FILE, FILE.replace("kind: tpe", "kind: random"), GRID], ids=["tpe", "random", "grid"]
)
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Asked]:
    """A search file, and its search without an accident."""
    return request.param, run_to_the_end(f"sqlite:///{tmp_path_factory.mktemp('study')}/undisturbed.db", request.param)


@pytest.mark.parametrize("num_written", [0, 1, 2, 3, 4])
def test_a_driver_may_die_at_any_write_of_asking(
    undisturbed: tuple[str, Asked], num_written: int, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def kill() -> Iterator[None]:
        with monkeypatch.context() as patch, suppress(KilledError):
            kill_after(num_written, patch)
            yield

    text, expected = undisturbed
    assert expected[1] == [TrialState.COMPLETE] * 6
    assert run_to_the_end(url, text, kill) == expected


class KilledError(BaseException):
    """Stands for a SIGKILL."""


def kill_after(num_written: int, patch: pytest.MonkeyPatch) -> None:
    """Let that many writes of a trial through, then die before the next: first the trial, its parameters, its mark."""
    written = 0

    def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any, **named: Any) -> Any:
            nonlocal written
            if written == num_written:
                raise KilledError
            written += 1
            return method(*arguments, **named)

        return write

    for name in ("create_new_trial", "set_trial_param", "set_trial_user_attr"):
        patch.setattr(_CachedStorage, name, wrap(getattr(_CachedStorage, name)))


def test_an_epoch_reported_twice_changes_nothing(url: str) -> None:
    study = DurableStudy(url, file())
    study.next_point()
    study.report(0, 1, 0.5)
    study.report(0, 1, 0.7)
    study.tell(0, "completed", 0.5)
    study.tell(0, "failed")
    assert study.ends() == {0: "completed"}
    assert study.value(0) == 0.5


def test_a_field_younger_than_the_study_is_its_default(url: str) -> None:
    DurableStudy(url, file())
    stored = optuna.load_study(study_name=file().name, storage=url)
    definition = stored.user_attrs[DEFINITION]
    del definition["base.data.corrupt_images"]
    stored.set_user_attr(DEFINITION, definition)
    DurableStudy(url, file())
    skipping = file().model_copy(update={"base": file().base.with_values({"data.corrupt_images": "skip"})})
    with pytest.raises(
        SearchError, match=r'was begun with base.data.corrupt_images = "error", the file now says "skip"'
    ):
        DurableStudy(url, skipping)


def test_another_definition_under_the_same_name_is_refused(url: str) -> None:
    DurableStudy(url, file())
    DurableStudy(url, file(FILE.replace("trials: 6", "trials: 9")))
    with pytest.raises(SearchError, match=r"was begun with space\.optim\.lr\.high = 0\.1, the file now says 0\.2"):
        DurableStudy(url, file(FILE.replace("high: 1e-1", "high: 2e-1")))


def with_budget(budget: str, resources: str = "") -> SearchFile:
    return file(FILE.replace("budget: {trials: 6}", f"budget: {{trials: 6, {budget}}}") + resources)


def test_time_is_charged_once_and_survives_a_restart(url: str) -> None:
    bounded = with_budget("gpu_hours: 0.01", "resources: {workers_per_trial: 2, gpus_per_worker: 0.5}")
    study = DurableStudy(url, bounded)
    first = study.next_point()
    assert first is not None
    study.report(first.number, 1, 0.5, seconds=20.0)
    study.report(first.number, 1, 0.5, seconds=20.0)  # said again by a worker that went on
    assert study.ledger.gpu_hours == pytest.approx(20 / 3600)
    assert study.end_of_budget() is None

    again = DurableStudy(url, bounded)
    assert again.ledger.gpu_hours == pytest.approx(20 / 3600)
    again.report(first.number, 2, 0.5, seconds=20.0)
    assert again.end_of_budget() == "budget.gpu_hours: 0.0111 of 0.01 spent"
    assert again.next_point() is None
    raised = DurableStudy(url, with_budget("gpu_hours: 1", "resources: {workers_per_trial: 2, gpus_per_worker: 0.5}"))
    point = raised.next_point()
    assert point is not None and (point.number, point.reached) == (first.number, 2)


def test_wall_time_runs_while_the_search_does(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("kmcl_platform.search.study.budget.time.monotonic", lambda: now)
    study = DurableStudy(url, with_budget("hours: 2"))
    first = study.next_point()
    assert first is not None
    study.ledger.start()
    now += 3600
    study.report(first.number, 1, 0.5)
    now += 9 * 3600  # between two starts
    again = DurableStudy(url, with_budget("hours: 2"))
    again.ledger.start()
    now += 1800
    again.report(first.number, 2, 0.5)
    assert again.ledger.hours == pytest.approx(1.5)
    assert again.end_of_budget() is None
    now += 1800
    again.report(first.number, 3, 0.5)
    assert again.end_of_budget() == "budget.hours: 2 of 2 spent"


def test_patience_counts_trials_since_the_best(url: str) -> None:
    study = DurableStudy(url, with_budget("patience: 2"))
    for value, verdict in ((0.1, "completed"), (0.3, "completed"), (0.2, "completed"), (0.9, "failed")):
        point = study.next_point()
        assert point is not None
        study.tell(point.number, verdict, value if verdict == "completed" else None)  # type: ignore[arg-type]
    assert study.end_of_budget() == "budget.patience: 2 trials ended without a better one"
    assert study.next_point() is None


def test_gpu_hours_without_a_gpu_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^s\.yaml: budget\.gpu_hours: got 3; valid: no value, because trials have no GPU"
    ):
        with_budget("gpu_hours: 3")
