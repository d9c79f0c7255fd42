"""The trials that are trained again where a file has no arms: for a verdict the best baseline and the best trial."""

from pathlib import Path

import pytest

from kmcl_platform.config.arms import expand_arms, to_yaml
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.store import open_store
from kmcl_platform.errors import ConfigError
from kmcl_platform.search.study.compared_trials import list_finalists, plan_retraining
from kmcl_platform.search.study.study import DurableStudy
from tests.search.study.small_study import search_file

FILE = """
name: s
base: {num_epochs: 4}
space: {loss.contrastive_weight: {kind: loguniform, low: 0.01, high: 10, zero: true}}
budget: {trials: 6}
verdict: {seeds: 3}
"""


def test_the_best_baseline_and_the_best_trial_are_trained_again_with_the_same_seeds(tmp_path: Path) -> None:
    store, file = open_store(tmp_path), search_file(FILE)
    study = DurableStudy(store.study_url, file)
    for number, value in enumerate((0.4, 0.5, 0.45, 0.3, 0.6, 0.2)):
        assert study.next_point() is not None
        assert plan_retraining(file, store) == {} or number > 3, "nothing to compare yet"
        study.tell(number, "completed", value)
    planned = plan_retraining(file, store)
    assert {label: search.name for label, search in planned.items()} == {"asymmetric": "s-best1", "trial 4": "s-best4"}
    assert planned["asymmetric"].base == file.base.with_values({"loss.objective": "asymmetric"})
    assert planned["trial 4"].base == study.point(4).config
    for search in planned.values():
        assert (search.baseline, search.baselines, search.verdict, search.budget.trials) == (False, (), None, 3)
        assert parse_search_file(to_yaml(search), "again.yaml") == search
    first, second = (search.space for search in planned.values())
    assert first == second
    assert plan_retraining(search_file(FILE.replace("verdict: {seeds: 3}\n", "")), store) == {}


def test_the_finalists_are_the_best_trials_and_the_two_compared_ones(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    file = search_file(
        FILE.replace("verdict: {seeds: 3}", "finalists: {trials: 2, seeds: 4}").replace("trials: 6", "trials: 8")
    )
    study = DurableStudy(store.study_url, file)
    assert list_finalists(study) == []
    # Trials 0 to 2 are the baselines kmcl, asymmetric and bce.
    for number, value in enumerate((0.4, 0.5, 0.45, 0.3, 0.6, 0.55)):
        assert study.next_point() is not None
        study.tell(number, "completed", value)
    assert list_finalists(study) == [4, 5, 1], "the best two, and the best baseline"
    study.next_point()
    study.tell(6, "completed", 0.3)
    planned = plan_retraining(file, store)
    assert [search.name for search in planned.values()] == ["s-best4", "s-best5", "s-best1"]
    assert list(planned) == ["trial 4", "trial 5", "asymmetric"]
    for search in planned.values():
        assert (search.finalists, search.budget.trials, len(search.space["seed"].edges())) == (None, 4, 4)
        assert parse_search_file(to_yaml(search), "again.yaml") == search


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("verdict: {seeds: 3}", "finalists: {trials: 7}"),
            "finalists.trials: got 7; valid: at most budget.trials, 6",
        ),
        (("verdict: {seeds: 3}", "finalists: {seeds: 1}"), "finalists.seeds: got 1; valid: "),
        (("verdict: {seeds: 3}", "finalists: {trials: 0}"), "finalists.trials: got 0; valid: "),
        (
            ("verdict:", "finalists: {trials: 2}\nverdict:"),
            "finalists: got a verdict too; valid: one of the two, because they include a verdict",
        ),
        (
            ("verdict:", "finalists: {trials: 2}\narms: {a: {loss.clip: 0}, b: {loss.clip: 0.1}}\nverdict:"),
            "finalists: got a verdict too; valid: one of the two, because the verdict between arms trains their best",
        ),
        (
            ("base:", "baseline: false\nbase:"),
            "verdict: got 3 seeds; valid: no value, because the file has no arms or baselines",
        ),
        (
            ("name: s", f"name: {'s' * 58}"),
            f"name: got {'s' * 58}-best5; valid: a search's name of at most 63 characters",
        ),
    ],
)
def test_a_verdict_that_cannot_be_given_is_refused(change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand_arms(search_file(FILE.replace(*change)))
    assert str(caught.value).startswith(f"s.yaml: {message}")
