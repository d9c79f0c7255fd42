"""The prior: points near the values that the user expects to be good, fewer of them as evidence comes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from kmcl_platform.config.reports.trial_marks import FROM_PRIOR
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.errors import ConfigError
from kmcl_platform.search.sampling.prior import PriorSampler, draws_from_prior, trust
from kmcl_platform.search.sampling.space import suggest_values
from kmcl_platform.search.study.storage import MEMORY
from kmcl_platform.search.study.study import DurableStudy
from tests.search.sampling.test_asking import KilledError, kill_after, run_to_the_end
from tests.search.study.small_study import search_file

FILE = """
name: s
base: {num_epochs: 4, loss: {temperature: 0.2, contrastive_weight: 0.1, clip: 0.1}}
space:
  loss.formulation: {kind: choice, choices: [corrected, released]}
  loss.temperature: {kind: loguniform, low: 0.05, high: 1}
  loss.contrastive_weight: {kind: loguniform, low: 0.001, high: 10, zero: true}
  loss.clip: {kind: uniform, low: 0, high: 0.4}
  model.kernels_per_class: {kind: int, low: 1, high: 5}
baselines: []
budget: {trials: 31}
scheduler: {kind: none}
sampler: {kind: random, seed: 5}
prior: {confidence: 0.9, paths: {loss.clip: {center: 0.3, confidence: 0.99}, model.kernels_per_class: {center: 4}}}
"""


def points(file: SearchFile, count: int) -> list[dict[str, object]]:
    """The values of points that come from the prior."""
    study = optuna.create_study()
    found: list[dict[str, object]] = []
    for seed in range(count):
        study.sampler = PriorSampler(file, seed)
        found.append(dict(suggest_values(study.ask(), file)))
    return found


def test_points_of_the_prior_are_near_its_centres() -> None:
    found = points(search_file(FILE), 200)
    for path, center, deviation, to_axis in (
        ("loss.temperature", math.log(0.2), 0.05 * math.log(20), math.log),
        ("loss.clip", 0.3, 0.005 * 0.4, float),
    ):
        places = [to_axis(point[path]) for point in found]  # type: ignore[operator]
        assert sum(places) / 200 == pytest.approx(center, abs=deviation / 4)
        spread = math.sqrt(sum((place - center) ** 2 for place in places) / 200)
        assert spread == pytest.approx(deviation, rel=0.2)
    kernels = [point["model.kernels_per_class"] for point in found]
    assert kernels.count(4) > 150
    assert {type(value) for value in kernels} == {int}
    assert 0.9 < sum(point["loss.formulation"] == "corrected" for point in found) / 200 < 0.99


def test_a_weight_is_converted_for_the_other_formulation() -> None:
    weights: dict[object, list[float]] = {"corrected": [], "released": []}
    for point in points(search_file(FILE), 600):
        if point["loss.contrastive_weight"]:
            weights[point["loss.formulation"]].append(math.log(point["loss.contrastive_weight"]))  # type: ignore[arg-type]
    corrected, released = (sum(values) / len(values) for values in weights.values())
    # 64 pictures in a batch: 0.1 in `corrected` is 6.4 in `released`.
    assert math.exp(corrected) == pytest.approx(0.1, rel=0.3)
    assert math.exp(released) == pytest.approx(6.4, rel=0.45)
    assert search_file(FILE).base.data.batch_size == 64


def trial(state: TrialState, value: float | None, *, from_prior: bool) -> FrozenTrial:
    marks = {FROM_PRIOR: True} if from_prior else {}
    return optuna.create_trial(state=state, value=value, user_attrs=marks)


def test_a_prior_is_trusted_as_far_as_its_points_are_better() -> None:
    good = [trial(TrialState.COMPLETE, 0.9, from_prior=True) for _ in range(4)]
    others = [trial(TrialState.COMPLETE, 0.5, from_prior=False) for _ in range(4)]
    assert trust([], 1) == trust(good, 1) == 0.5
    assert trust(good + others, 1) == pytest.approx(4.5 / 5)
    assert trust(good + others, -1) == pytest.approx(0.5 / 5)
    assert trust([*good, trial(TrialState.PRUNED, None, from_prior=False)], 1) == pytest.approx(1.5 / 2)
    file = search_file(FILE)
    drawn = {
        number: sum(draws_from_prior(file, trials, seed) for seed in range(200)) / 200
        for number, trials in enumerate(([], good + others, 9 * (good + others)))
    }
    assert 0.4 < drawn[0] < 0.6
    assert drawn[1] > 0.5
    assert drawn[2] < 0.05, "the evidence of the trials themselves replaces the prior"
    assert not draws_from_prior(file.model_copy(update={"prior": None}), [], 0)


@pytest.mark.parametrize("right", [True, False])
def test_a_wrong_prior_is_given_up(right: bool) -> None:
    study, marks = DurableStudy(MEMORY, search_file(FILE)), []
    while (point := study.next_point()) is not None:
        distance = abs(point.config.loss.clip - (0.3 if right else 0.0))
        study.tell(point.number, "completed", -distance)
        marks.append(FROM_PRIOR in study.counted()[-1].user_attrs)
    assert not marks[0], "the base is no point of the prior"
    assert sum(marks) >= 9 if right else sum(marks) <= 5


@pytest.mark.parametrize("num_written", range(8))
def test_a_driver_may_die_at_any_write_while_it_draws_a_point(
    num_written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = FILE.replace("trials: 31", "trials: 4")

    @contextmanager
    def kill() -> Iterator[None]:
        with monkeypatch.context() as patch, suppress(KilledError):
            kill_after(num_written, patch)
            yield

    expected = run_to_the_end(f"sqlite:///{tmp_path}/undisturbed.db", text)
    assert run_to_the_end(f"sqlite:///{tmp_path}/killed.db", text, kill) == expected
    trials = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/killed.db").get_trials()
    assert any(FROM_PRIOR in one.user_attrs for one in trials)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("center: 0.3", "center: 0.5", r"prior\.paths\.loss\.clip\.center: got 0\.5; valid: a value within space\.loss\.clip"),
        ("loss.clip: {center", "loss.clap: {center", r"prior\.paths\.loss\.clap: a path that is not searched; valid: loss\.clip"),
        ("confidence: 0.9,", "confidence: 1,", r"prior\.confidence: got 1; valid: a number below 1"),
        ("confidence: 0.99", "confidence: 0", r"prior\.paths\.loss\.clip\.confidence: got 0; valid: a number above 0"),
        ("temperature: 0.2", "temperature: 2", r"prior\.paths\.loss\.temperature\.center: got 2\.0; valid: a value within"),
        ("kind: random", "kind: grid", r"sampler\.kind: got grid|prior: got one with"),
    ],
)  # fmt: skip
def test_bad_priors_are_one_line(before: str, after: str, message: str) -> None:
    text = FILE.replace(before, after).replace("baselines: []", "baselines: []\nbaseline: false")
    assert after in text
    with pytest.raises(ConfigError, match=message) as caught:
        search_file(text)
    assert "\n" not in str(caught.value)
