"""Baselines: trained first, never stopped, and without effect on the points that the search draws."""

import re
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
import pytest

from kmcl_platform.config.first_trials import list_baselines
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import ConfigError, SearchError
from kmcl_platform.search.sampling.asking import BASELINE
from kmcl_platform.search.study.definition import DEFINITION, check_new_search
from kmcl_platform.search.study.storage import MEMORY
from kmcl_platform.search.study.study import DurableStudy
from tests.search.sampling.test_asking import GRID, KilledError, kill_after
from tests.search.study.small_study import search_file

FILE = """
name: s
base: {num_epochs: 4, loss: {clip: 0.1}}
space:
  loss.temperature: {kind: loguniform, low: 0.05, high: 1}
  loss.contrastive_weight: {kind: loguniform, low: 0.01, high: 10, zero: true}
budget: {trials: 10}
scheduler: {kind: successive_halving, min_epochs: 1, reduction_factor: 2}
sampler: {kind: tpe, startup_trials: 3, seed: 5}
"""
ALONE = FILE.replace("trials: 10", "trials: 8") + "baselines: []\n"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/optuna.db"


def run(url: str, file: SearchFile) -> list[tuple[TrialConfig, str, bool]]:
    """Run a search to its end: the configuration of each trial, its baseline's name, and whether it was stopped.

    The plain losses are far ahead of all other trials.
    """
    study, found = DurableStudy(url, file), []
    while (point := study.next_point()) is not None:
        value = 9.0 if point.config.loss.objective != "kmcl" else -abs(point.config.loss.temperature - 0.3)
        stopped = False
        for epoch in (1, 2):
            study.report(point.number, epoch, value)
            if stopped := study.should_prune(point.number):
                break
        study.tell(point.number, "pruned" if stopped else "completed", None if stopped else value)
        found.append((point.config, point.baseline, stopped))
    return found


def test_the_plain_losses_at_the_bases_recipe_follow_the_base(url: str) -> None:
    file = search_file(FILE)
    found = run(url, file)
    assert len(found) == 10, "they are counted in the budget"
    assert [name for _, name, _ in found[:4]] == ["kmcl", "asymmetric", "bce", ""]
    assert [config for config, _, _ in found[:3]] == [
        file.base, *(file.base.with_values({"loss.objective": loss}) for loss in ("asymmetric", "bce"))
    ]  # fmt: skip
    trials = optuna.load_study(study_name="s", storage=url).get_trials()
    assert [trial.user_attrs.get(BASELINE) for trial in trials[:4]] == ["kmcl", "asymmetric", "bce", None]
    assert [bool(trial.params) for trial in trials[:4]] == [True, False, False, True], "samplers know points only"
    assert DurableStudy(url, file).ended.best(2) == [1, 2]


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [
        ("tpe", "successive_halving"),
        ("gp", "none"),
        ("gp", "hyperband"),
        ("random", "none"),
        ("qmc", "none"),
    ],
)
def test_the_search_draws_and_stops_as_without_them(sampler: str, scheduler: str) -> None:
    texts = [
        text.replace("kind: tpe", f"kind: {sampler}").replace("successive_halving, min_epochs: 1, ", f"{scheduler}, ")
        for text in (FILE, ALONE)
    ]
    if scheduler == "none":
        texts = [text.replace(", reduction_factor: 2", "") for text in texts]
    found, alone = (run(MEMORY, search_file(text)) for text in texts)
    assert [stopped for _, name, stopped in found if name] == [False] * 3
    searched = [(config, stopped) for config, name, stopped in found if not name]
    expected = [(config, stopped) for config, name, stopped in alone if not name]
    assert len(searched) == 7
    if scheduler == "hyperband":  # a trial's number decides its bracket
        assert searched[0][0] == expected[0][0]
    else:
        assert searched == expected


@pytest.mark.parametrize("num_written", [0, 1, 2, 3])
def test_a_driver_may_die_at_any_write(num_written: int, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def kill():  # type: ignore[no-untyped-def]
        with monkeypatch.context() as patch, suppress(KilledError):
            kill_after(num_written, patch)
            yield

    file = search_file(FILE.replace("trials: 10", "trials: 5"))
    found = []
    while True:
        with kill():
            DurableStudy(url, file).next_point()
        study = DurableStudy(url, file)
        if (point := study.next_point()) is None:
            break
        found.append((point.number, point.baseline, point.config.loss.objective))
        study.tell(point.number, "completed", 0.5)
    assert found == [
        (0, "kmcl", "kmcl"), (1, "asymmetric", "asymmetric"), (2, "bce", "bce"), (3, "", "kmcl"), (4, "", "kmcl")
    ]  # fmt: skip


def test_a_new_search_whose_sampler_ignores_stopped_trials_is_refused(url: str) -> None:
    text = ALONE.replace("kind: tpe", "kind: gp")
    message = "sampler.kind: got gp with scheduler.kind successive_halving; valid: tpe, or scheduler: {kind: none}, "
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_new_search(search_file(text), url)
    check_new_search(
        search_file(text.replace("kind: successive_halving, min_epochs: 1, reduction_factor: 2", "kind: none")), url
    )
    early = ALONE.replace("base: {", "base: {optim: {warmup_fraction: 0.5}, ")
    with pytest.raises(
        ConfigError, match="scheduler.min_epochs: got 1, but the learning rate rises until epoch 2 of 4"
    ):
        check_new_search(search_file(early), url)
    # A search that has begun goes on.
    for file in (text, early):
        DurableStudy(url, search_file(file.replace("name: s", "name: t"))).next_point()
        check_new_search(search_file(file.replace("name: s", "name: t")), url)
        optuna.delete_study(study_name="t", storage=url)


def test_a_study_begun_before_the_field_has_the_base_alone(url: str) -> None:
    DurableStudy(url, search_file(ALONE)).next_point()
    stored = optuna.load_study(study_name="s", storage=url)
    stored.set_user_attr(DEFINITION, {k: v for k, v in stored.user_attrs[DEFINITION].items() if k != "baselines"})
    stored._storage.set_trial_user_attr(stored.get_trials()[0]._trial_id, BASELINE, True)
    study = DurableStudy(url, search_file(FILE))
    points = [study.next_point() for _ in range(3)]
    assert [point and (point.number, point.baseline, point.is_base) for point in points] == [
        (0, "base", True), (1, "", False), (2, "", False)
    ]  # fmt: skip
    assert all(point and point.config.loss.objective == "kmcl" for point in points)
    check_new_search(search_file(FILE.replace("trials: 10", "trials: 3")), url)
    named = FILE + "baselines: [{name: plain, values: {loss.objective: bce}}]\n"
    with pytest.raises(
        SearchError, match=r"was begun with baselines = \[\], the file now says \[\{\"name\": \"plain\""
    ):
        DurableStudy(url, search_file(named))


def test_a_continued_search_keeps_its_first_rung(url: str) -> None:
    text = ALONE.replace("base: {", "base: {optim: {warmup_fraction: 0.5}, ").replace(", min_epochs: 1", "")
    study = DurableStudy(url, search_file(text))
    assert study.file.scheduler.stopping_epochs(4) == [2]
    # A study of a version whose default was 1.
    stored = optuna.load_study(study_name="s", storage=url)
    stored.set_user_attr(DEFINITION, stored.user_attrs[DEFINITION] | {"scheduler.min_epochs": "1"})
    study = DurableStudy(url, search_file(text))
    assert study.file.scheduler.stopping_epochs(4) == [1, 2]
    assert study._study.pruner.rungs == [1, 2]
    with pytest.raises(SearchError, match="was begun with scheduler.min_epochs = 1, the file now says 2"):
        DurableStudy(
            url, search_file(text.replace("kind: successive_halving", "kind: successive_halving, min_epochs: 2"))
        )


def test_a_continued_search_keeps_its_baselines(url: str) -> None:
    named = FILE + "baselines: [{name: plain, values: {loss.objective: bce}}]\n"
    DurableStudy(url, search_file(named)).next_point()
    study = DurableStudy(url, search_file(FILE))
    assert [point.baseline for point in iter(study.next_point, None)][:3] == ["kmcl", "plain", ""]  # type: ignore[union-attr]
    with pytest.raises(SearchError, match="was begun with baselines = "):
        DurableStudy(url, search_file(ALONE))


def test_a_baseline_within_the_space_is_a_point_that_the_sampler_knows(url: str) -> None:
    text = FILE + "baselines: [{name: cold, values: {loss.temperature: 0.05, loss.contrastive_weight: 0}}]\n"
    study = DurableStudy(url, search_file(text))
    points = [study.next_point() for _ in range(2)]
    assert points[1] is not None
    assert (points[1].baseline, points[1].config.loss.temperature, points[1].config.loss.contrastive_weight) == (
        "cold",
        0.05,
        0,
    )
    trial = optuna.load_study(study_name="s", storage=url).get_trials()[1]
    assert trial.params.keys() == {"loss.temperature", "loss.contrastive_weight"}
    study.report(0, 1, 1.0)
    study.report(1, 1, -1.0)
    study.should_prune(0)
    assert not study.should_prune(1), "never stopped early"


def test_a_grid_has_them_in_addition_to_its_points(url: str) -> None:
    plain = "baselines: [{name: plain, values: {loss.objective: asymmetric}}]\n"
    text = GRID.replace("trials: 6", "trials: 7") + plain
    study, found = DurableStudy(url, search_file(text)), []
    while (point := study.next_point()) is not None:
        found.append((point.baseline, point.config.loss.objective, point.config.optim.lr))
        study.tell(point.number, "completed", 0.5)
    assert found[:2] == [("kmcl", "kmcl", 0.01), ("plain", "asymmetric", 0.01)]
    assert len(set(found)) == 7
    with pytest.raises(ConfigError, match=r"budget\.trials: got 8; valid: at most 7, the points of the grid"):
        search_file(text.replace("trials: 7", "trials: 8"))


def test_patience_does_not_count_them(url: str) -> None:
    study = DurableStudy(url, search_file(FILE.replace("trials: 10", "trials: 10, patience: 2")))
    for number, value in enumerate((0.1, 0.9, 0.8, 0.2)):
        assert study.next_point() is not None
        study.tell(number, "completed", value)
    assert study.next_point() is not None, "trial 3 is the best of the search's own trials"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("clip: 0.1", "clip: 0.1, asymmetric_weight: 0"), [{"loss.asymmetric_weight": 1.0}] * 2),
        (("clip: 0.1", "objective: asymmetric"), []),
        (("base:", "baseline: false\nbase:"), []),
        (("base:", "baselines: []\nbase:"), []),
        (("space:", "space:\n  loss.objective: {kind: choice, choices: [kmcl, bce]}"), []),
        (("base:", "arms: {a: {seed: 1}, b: {seed: 2}}\nbase:"), []),
    ],
)
def test_which_files_have_them_by_default(change: tuple[str, str], expected: list[dict[str, float]]) -> None:
    named = [dict(one.values) for one in list_baselines(search_file(FILE.replace(*change)))]
    for values in named:
        assert values.pop("loss.objective") in ("asymmetric", "bce")
    assert named == expected
