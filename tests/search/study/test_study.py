"""DurableStudy: stopping, budgets, repeated reports, and a study that another search began."""

from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.errors import ConfigError, SearchError
from kmcl_platform.search.study.compared_trials import compare_with_baselines
from kmcl_platform.search.study.definition import DEFINITION
from kmcl_platform.search.study.ended_trials import judge_epoch
from kmcl_platform.search.study.study import DurableStudy
from tests.search.study.small_study import FILE, finish, search_file


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/optuna.db"


def test_the_first_trial_is_the_base_and_is_never_pruned(url: str) -> None:
    study = DurableStudy(url, search_file())
    first = study.next_point()
    assert first is not None
    assert first.baseline
    assert first.config == search_file().base
    second = study.next_point()
    assert second is not None
    study.report(second.number, 1, 1.0)
    assert not study.should_prune(second.number)
    study.report(first.number, 1, -1.0)
    assert not study.should_prune(first.number)


def test_a_bad_trial_is_pruned_and_its_values_stay(url: str) -> None:
    study = DurableStudy(url, search_file())
    points = [study.next_point() for _ in range(3)]
    decisions = []
    for point, value in zip(points, (0.8, 0.9, 0.1), strict=True):
        assert point is not None
        study.report(point.number, 1, value)
        decisions.append(study.should_prune(point.number))
    assert decisions == [False, False, True]
    study.tell(2, "pruned")
    frozen = optuna.load_study(study_name="s", storage=url).get_trials()[2]
    assert (frozen.state, frozen.intermediate_values) == (TrialState.PRUNED, {1: 0.1})


def test_the_budget_is_spent_exactly(url: str) -> None:
    study = DurableStudy(url, search_file())
    numbers = []
    while (point := study.next_point()) is not None:
        numbers.append(point.number)
        finish(study, point.number)
    assert numbers == list(range(6))
    assert study.end_of_budget() == "budget.trials: all 6 have ended"
    assert DurableStudy(url, search_file()).next_point() is None


def test_a_second_report_of_an_epoch_changes_nothing(url: str) -> None:
    study = DurableStudy(url, search_file())
    study.next_point()
    study.report(0, 1, 0.5)
    study.report(0, 1, 0.7)
    study.tell(0, "completed", 0.5)
    study.tell(0, "failed")
    assert study.ended.ends == {0: "completed"}
    assert study.value(0) == 0.5


def test_only_what_was_written_is_read_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study = DurableStudy(url, search_file())
    points = [study.next_point() for _ in range(4)]
    reads: list[str] = []
    for name in ("get_trial", "get_all_trials"):
        read = getattr(RDBStorage, name)
        monkeypatch.setattr(
            RDBStorage,
            name,
            lambda *args, _name=name, _read=read, **more: (reads.append(_name), _read(*args, **more))[1],
        )
    for number, point in enumerate(points):
        assert point is not None
        for epoch in range(1, 4):
            assert judge_epoch(study, point, epoch, number / 10, seconds=1.0, num_epochs=9) is None
        assert study.value(number) == number / 10
        # At its two rungs a verdict is written.
        assert reads.count("get_trial") <= 2 and "get_all_trials" not in reads
        reads.clear()
        study.tell(number, "completed", number / 10)
        assert (study.best_value(), study.ended.best(1), len(study.ended.trials)) == (number / 10, [number], number + 1)
        assert compare_with_baselines(study) is not None
        assert reads == ["get_trial"]
        reads.clear()


def test_a_field_that_was_added_after_the_study_is_its_default(url: str) -> None:
    DurableStudy(url, search_file())
    stored = optuna.load_study(study_name=search_file().name, storage=url)
    definition = stored.user_attrs[DEFINITION]
    del definition["base.data.corrupt_images"]
    stored.set_user_attr(DEFINITION, definition)
    DurableStudy(url, search_file())
    skipping = search_file().model_copy(
        update={"base": search_file().base.with_values({"data.corrupt_images": "skip"})}
    )
    with pytest.raises(
        SearchError, match=r'was begun with base.data.corrupt_images = "error", the file now says "skip"'
    ):
        DurableStudy(url, skipping)


def test_a_field_whose_default_has_changed_is_what_the_trials_were_computed_with(url: str) -> None:
    total = search_file().model_copy(update={"base": search_file().base.with_values({"loss.kernel_scale": "total"})})
    DurableStudy(url, total)
    stored = optuna.load_study(study_name=total.name, storage=url)
    # A study of the time before the field.
    definition = stored.user_attrs[DEFINITION]
    del definition["base.loss.kernel_scale"]
    stored.set_user_attr(DEFINITION, definition)
    DurableStudy(url, total)
    with pytest.raises(
        SearchError, match=r'was begun with base.loss.kernel_scale = "total", the file now says "per_feature"'
    ):
        DurableStudy(url, search_file())


def test_a_field_that_was_removed_after_the_study_is_refused_only_if_it_changed_something(url: str) -> None:
    DurableStudy(url, search_file())
    stored = optuna.load_study(study_name=search_file().name, storage=url)
    definition = stored.user_attrs[DEFINITION]
    stored.set_user_attr(DEFINITION, definition | {"base.loss.similarity_per_dimension": "false"})
    DurableStudy(url, search_file())
    stored.set_user_attr(DEFINITION, definition | {"base.loss.similarity_per_dimension": "true"})
    with pytest.raises(
        SearchError, match="begun with base.loss.similarity_per_dimension = true, the file now says nothing; valid: "
    ):
        DurableStudy(url, search_file())


def test_another_definition_under_the_same_name_is_refused(url: str) -> None:
    DurableStudy(url, search_file())
    DurableStudy(url, search_file(FILE.replace("trials: 6", "trials: 9")))
    with pytest.raises(SearchError, match=r"was begun with space\.optim\.lr\.high = 0\.1, the file now says 0\.2"):
        DurableStudy(url, search_file(FILE.replace("high: 1e-1", "high: 2e-1")))


def test_a_default_that_the_file_now_says_itself_changes_nothing(url: str) -> None:
    DurableStudy(url, search_file())
    DurableStudy(url, search_file(FILE + "resources: {cpus_per_worker: 1, gpus_per_worker: 0}\n"))
    # True and 1 are equal in Python.
    study = optuna.load_study(study_name="s", storage=url)
    study.set_user_attr(DEFINITION, study.user_attrs[DEFINITION] | {"resources.cpus_per_worker": "true"})
    with pytest.raises(SearchError, match=r"was begun with resources.cpus_per_worker = true, the file now says 1"):
        DurableStudy(url, search_file())


def with_budget(budget: str, resources: str = "") -> SearchFile:
    return search_file(FILE.replace("budget: {trials: 6}", f"budget: {{trials: 6, {budget}}}") + resources)


def test_time_is_charged_once_and_survives_a_restart(url: str) -> None:
    bounded = with_budget("gpu_hours: 0.02", "resources: {workers_per_trial: 2, gpus_per_worker: 1}")
    study = DurableStudy(url, bounded)
    first = study.next_point()
    assert first is not None
    study.report(first.number, 1, 0.5, seconds=20.0)
    study.report(first.number, 1, 0.5, seconds=20.0)  # A worker that continues repeats its report.
    assert study.ledger.gpu_hours == pytest.approx(2 * 20 / 3600)
    assert study.end_of_budget() is None

    again = DurableStudy(url, bounded)
    assert again.ledger.gpu_hours == pytest.approx(2 * 20 / 3600)
    again.report(first.number, 2, 0.5, seconds=20.0)
    assert again.end_of_budget() == "budget.gpu_hours: 0.0222 of 0.02 spent"
    assert again.next_point() is None
    raised = DurableStudy(url, with_budget("gpu_hours: 1", "resources: {workers_per_trial: 2, gpus_per_worker: 1}"))
    point = raised.next_point()
    assert point is not None and (point.number, point.reached) == (first.number, 2)


def test_wall_time_is_charged_while_the_search_runs(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("kmcl_platform.search.study.budget.time.monotonic", lambda: now)
    study = DurableStudy(url, with_budget("hours: 2"))
    first = study.next_point()
    assert first is not None
    study.ledger.start()
    now += 3600
    study.report(first.number, 1, 0.5)
    now += 9 * 3600  # Between two starts.
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
    for value, end in ((0.1, "completed"), (0.3, "completed"), (0.2, "completed"), (0.9, "failed")):
        point = study.next_point()
        assert point is not None
        study.tell(point.number, end, value if end == "completed" else None)  # type: ignore[arg-type]
    assert study.end_of_budget() == "budget.patience: 2 trials ended without a better one"
    assert study.next_point() is None


def test_gpu_hours_without_a_gpu_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^s\.yaml: budget\.gpu_hours: got 3; valid: no value, because trials have no GPU"
    ):
        with_budget("gpu_hours: 3")


def test_a_trial_is_stopped_only_where_its_scheduler_says_that_it_may_be(url: str) -> None:
    """At another epoch there may be no checkpoint, whatever the pruner of a plug-in says."""

    class Always(optuna.pruners.BasePruner):
        asked = 0

        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            self.asked += 1
            return True

    text = FILE.replace("min_epochs: 1", "min_epochs: 2") + "baseline: false\nbaselines: []\n"
    study = DurableStudy(url, search_file(text))
    study._study.pruner = pruner = Always()
    point = study.next_point()
    assert point is not None
    stopped = []
    for epoch in (1, 2, 3):
        study.report(point.number, epoch, 0.5)
        stopped.append(study.should_prune(point.number))
    assert stopped == [False, True, False]
    assert pruner.asked == 1
