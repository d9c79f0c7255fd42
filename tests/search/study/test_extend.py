"""A space that changes while its search goes on: which trials the sampler sees, and which changes are refused."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial

from kmcl_platform.config.reports.trial_marks import SPACE_CHANGES
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.errors import SearchError
from kmcl_platform.search.sampling.asking import VALUES
from kmcl_platform.search.study.definition import Allowed
from kmcl_platform.search.study.study import DurableStudy
from tests.search.study.small_study import KilledError, finish, kill_after, search_file

FILE = """
name: s
base: {num_epochs: 4, optim: {lr: 0.01}}
baselines: []
space:
  loss.objective: {kind: choice, choices: [kmcl, bce]}
  loss.temperature: {kind: loguniform, low: 0.05, high: 1, when: {loss.objective: kmcl}}
  loss.reconstruction_weight: {kind: loguniform, low: 0.01, high: 1, zero: true}
  optim.lr: {kind: loguniform, low: 1e-3, high: 1e-1}
budget: {trials: 12}
scheduler: {kind: none}
sampler: {kind: tpe, startup_trials: 3, seed: 5}
"""
LR = "optim.lr: {kind: loguniform, low: 1e-3, high: 1e-1}"
EXTEND = Allowed(space=True)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A study with 12 trials."""
    url = f"sqlite:///{tmp_path}/optuna.db"
    run(DurableStudy(url, search_file(FILE)))
    return url


def run(study: DurableStudy) -> list[Any]:
    configs = []
    while (point := study.next_point()) is not None:
        configs.append(point.config)
        finish(study, point.number)
    return configs


def changed(*changes: tuple[str, str], trials: int = 18) -> SearchFile:
    text = FILE.replace("trials: 12", f"trials: {trials}")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return search_file(text)


def seen(study: DurableStudy) -> list[FrozenTrial]:
    return study._study.get_trials(deepcopy=False)


def test_a_wider_range_goes_on_with_all_trials(url: str) -> None:
    file = changed((LR, LR.replace("1e-3", "1e-5")))
    with pytest.raises(SearchError, match=r"space.optim.lr.low = 0.001, the file now says 1e-05; .*; or --extend, to"):
        DurableStudy(url, file)
    study = DurableStudy(url, file, allowed=EXTEND)
    assert len(study.counted()) == len(seen(study)) == 12
    assert all(trial.distributions["optim.lr"] == FloatDistribution(1e-5, 1e-1, log=True) for trial in seen(study))
    assert len(run(study)) == 6
    # The next start needs no permission, and sees the same.
    again = DurableStudy(url, file)
    assert [trial.params for trial in seen(again)] == [trial.params for trial in seen(study)]
    assert again._study.user_attrs[SPACE_CHANGES] == [
        {"trials": 12, "changed": {"optim.lr.low": ["0.001", "1e-05"]}},
    ]


def test_a_narrower_range_leaves_out_what_lies_outside(url: str) -> None:
    study = DurableStudy(url, changed((LR, LR.replace("1e-3", "8e-3"))), allowed=EXTEND)
    inside = [trial.number for trial in study.counted() if trial.user_attrs[VALUES]["optim.lr"] >= 8e-3]
    assert 0 < len(inside) < 12
    assert [trial.number for trial in seen(study)] == inside
    assert len(study.counted()) == 12, "all count for the budget and for the ranking"
    configs = run(study)
    assert len(configs) == 6
    assert all(config.optim.lr >= 8e-3 for config in configs)
    assert len(seen(study)) == len(inside) + 6


def test_former_trials_have_the_value_of_the_base_at_a_new_path(url: str) -> None:
    new = "optim.weight_decay: {kind: loguniform, low: 1e-5, high: 1e-1}"
    file = changed((LR, f"{LR}\n  {new}"))
    study = DurableStudy(url, file, allowed=EXTEND)
    assert {trial.params["optim.weight_decay"] for trial in seen(study)} == {file.base.optim.weight_decay}
    decays = {config.optim.weight_decay for config in run(study)}
    assert len(decays) == 6
    conditional = [trial for trial in seen(study) if trial.params["loss.objective"] == "bce"]
    assert conditional
    assert all("loss.temperature" not in trial.params for trial in conditional)


def test_a_weight_of_zero_stays_zero_in_another_range(url: str) -> None:
    wider = "loss.reconstruction_weight: {kind: loguniform, low: 0.0001, high: 1, zero: true}"
    narrow = "loss.reconstruction_weight: {kind: loguniform, low: 0.01, high: 1, zero: true}"
    study = DurableStudy(url, changed((narrow, wider)), allowed=EXTEND)
    path = "loss.reconstruction_weight"
    distribution = study.file.space[path]
    zeros = [trial for trial in seen(study) if trial.user_attrs[VALUES][path] == 0]
    assert zeros
    for trial in seen(study):
        assert distribution.to_value(trial.params[path]) == trial.user_attrs[VALUES][path]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((LR, ""), "space.optim.lr: got nothing, but former trials have other values than the base there; valid: keep"),
        ((LR, LR.replace("loguniform", "uniform")), "space.optim.lr.kind: got uniform; valid: loguniform, as before"),
        (("[kmcl, bce]", "[kmcl, bce, focal]"), r"choices: got \['kmcl', 'bce', 'focal'\]; valid: \['kmcl', 'bce'\]"),
        (
            (", when: {loss.objective: kmcl}", ""),
            r"loss.temperature.when: got \{\}; valid: \{'loss.objective': 'kmcl'\}",
        ),
        ((", zero: true", ""), "reconstruction_weight.zero: got false; valid: true"),
        (("seed: 5", "seed: 6"), "sampler.seed = 5, the file now says 6; valid: the same definition"),
    ],
)
def test_what_former_trials_cannot_be_part_of_is_refused(change: tuple[str, str], message: str, url: str) -> None:
    with pytest.raises(SearchError, match=message):
        DurableStudy(url, changed(change), allowed=EXTEND)
    study = DurableStudy(url, search_file(FILE))
    assert SPACE_CHANGES not in study._study.user_attrs
    assert len(seen(study)) == 12


@pytest.mark.parametrize("num_written", [None, 0, 1, 2, 3])
def test_a_killed_driver_gets_the_points_of_an_undisturbed_one(
    num_written: int | None, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed during a trial, or while it draws the values of one."""
    (tmp_path / "other.db").write_bytes((tmp_path / "optuna.db").read_bytes())
    file, other = changed((LR, LR.replace("1e-3", "1e-5"))), f"sqlite:///{tmp_path}/other.db"
    undisturbed = run(DurableStudy(url, file, allowed=EXTEND))
    configs = []
    while True:
        study = DurableStudy(other, file, allowed=EXTEND)
        if num_written is None:
            study.next_point()
        else:
            with monkeypatch.context() as patch, suppress(KilledError):
                kill_after(num_written, patch)
                study.next_point()
        again = DurableStudy(other, file, allowed=EXTEND)
        if (point := again.next_point()) is None:
            break
        configs.append(point.config)
        finish(again, point.number)
    assert configs == undisturbed
    assert len(DurableStudy(other, file)._study.user_attrs[SPACE_CHANGES]) == 1


@pytest.mark.parametrize("num_written", [0, 1])
def test_a_driver_may_die_while_it_changes_the_space(
    num_written: int, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = changed((LR, LR.replace("1e-3", "1e-5")))
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        kill_after(num_written, patch, ("set_study_user_attr",))
        DurableStudy(url, file, allowed=EXTEND)
    with pytest.raises(SearchError, match="or --extend"):
        DurableStudy(url, file)
    study = DurableStudy(url, file, allowed=EXTEND)
    assert [change["trials"] for change in study._study.user_attrs[SPACE_CHANGES]] == [12]
    assert len(seen(DurableStudy(url, file))) == 12
