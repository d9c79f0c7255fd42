"""Ranges with `zero: true`: every sampler draws exact zeros, and a killed driver changes no point."""

import math
from pathlib import Path

import optuna
import pytest

from kmcl_platform.config.space.distributions import LogUniform
from kmcl_platform.errors import ConfigError, SearchError
from kmcl_platform.search.plan.probe_points import choose_corners, list_uncovered
from kmcl_platform.search.sampling.asking import VALUES
from kmcl_platform.search.sampling.space import suggest_values
from kmcl_platform.search.study.definition import DEFINITION
from kmcl_platform.search.study.storage import MEMORY
from kmcl_platform.search.study.study import DurableStudy
from tests.search.sampling.test_asking import GRID
from tests.search.study.small_study import search_file

WEIGHT = "loss.contrastive_weight"
FILE = """
name: s
base: {num_epochs: 4, loss: {contrastive_weight: 0}}
space:
  loss.contrastive_weight: {kind: loguniform, low: 0.01, high: 10, zero: true}
  loss.reconstruction_weight: {kind: loguniform, low: 0.01, high: 10, zero: true}
baselines: []
budget: {trials: 12}
scheduler: {kind: none}
sampler: {kind: random, startup_trials: 5, seed: 5}
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/optuna.db"


def weights(url: str, text: str, *, restarts: bool = False) -> list[float]:
    """The contrastive weights of a search's trials, of which the largest is the best."""
    study, found = DurableStudy(url, search_file(text)), []
    while (point := study.next_point()) is not None:
        if restarts:
            study = DurableStudy(url, search_file(text))
            assert study.next_point() == point
        found.append(point.config.loss.contrastive_weight)
        study.tell(point.number, "completed", found[-1])
    return found


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "qmc"])
def test_each_sampler_draws_zeros_and_a_continued_search_draws_the_same(sampler: str, tmp_path: Path) -> None:
    text = FILE.replace("kind: random", f"kind: {sampler}")
    undisturbed = weights(MEMORY, text)
    assert undisturbed[0] == 0, "the base"
    assert 0 in undisturbed[1:]
    assert any(0.01 <= weight <= 10 for weight in undisturbed)
    assert all(weight == 0 or 0.01 <= weight <= 10 for weight in undisturbed)
    assert weights(f"sqlite:///{tmp_path}/b.db", text, restarts=True) == undisturbed


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_sampler_that_learns_prefers_the_better_of_zero_and_the_range(sampler: str) -> None:
    file = search_file(FILE.replace("kind: random", f"kind: {sampler}"))
    zeros = {}
    for zero_is_good in (True, False):
        study = optuna.create_study(direction="maximize")
        drawn = []
        for number in range(24):
            study.sampler = file.sampler.build_sampler(number)
            trial = study.ask()
            drawn.append(float(suggest_values(trial, file)[WEIGHT] or 0))
            study.tell(trial, float(drawn[-1] == 0) if zero_is_good else drawn[-1])
        zeros[zero_is_good] = drawn[10:].count(0)
    assert zeros[True] >= 7 > 2 >= zeros[False]


def test_a_random_point_is_zero_with_probability_one_in_four() -> None:
    file = search_file(FILE)
    study = optuna.create_study(sampler=file.sampler.build_sampler(1))
    drawn = [suggest_values(study.ask(), file)[WEIGHT] for _ in range(1000)]
    # Four standard deviations of the binomial distribution: 4 · √(1000 · 1/4 · 3/4) = 55.
    assert 195 <= drawn.count(0) <= 305
    # Half of the others are below the middle of the logarithmic range.
    below = [weight for weight in drawn if 0 < weight < math.sqrt(0.01 * 10)]  # type: ignore[operator]
    assert 300 <= len(below) <= 450


def test_a_half_drawn_zero_is_drawn_again(url: str) -> None:
    file = search_file(FILE)
    numbers = [number for number, weight in enumerate(weights(url, FILE)) if weight == 0][1:]
    stored = optuna.load_study(study_name="s", storage=url)
    expected = stored.get_trials()[numbers[0]].user_attrs[VALUES]
    half = f"{url}.half"
    study = DurableStudy(half, file)
    for _ in range(numbers[0]):
        point = study.next_point()
        assert point is not None
        study.tell(point.number, "completed", point.config.loss.contrastive_weight)
    optuna.load_study(study_name="s", storage=half).ask()  # a driver that died before it drew a value
    again = DurableStudy(half, file)
    point = again.next_point()
    assert point is not None and point.number == numbers[0]
    assert {path: point.config.value(path) for path in file.space} == expected


def test_a_study_begun_before_the_field_continues_without_zeros_only(url: str) -> None:
    plain = FILE.replace(", zero: true", "").replace("contrastive_weight: 0", "contrastive_weight: 1")
    DurableStudy(url, search_file(plain))
    stored = optuna.load_study(study_name="s", storage=url)
    definition = {path: text for path, text in stored.user_attrs[DEFINITION].items() if not path.endswith(".zero")}
    stored.set_user_attr(DEFINITION, definition)
    DurableStudy(url, search_file(plain))
    with pytest.raises(SearchError, match=r"begun with space\.loss\.contrastive_weight\.zero = false, the file now "):
        DurableStudy(url, search_file(plain.replace("high: 10}", "high: 10, zero: true}")))


def test_the_axis_and_the_values() -> None:
    one = LogUniform(kind="loguniform", low=0.01, high=10, zero=True)
    assert one.axis_low == pytest.approx(0.001)
    assert [one.to_value(place) for place in (0.001, 0.0099, 0.01, 10)] == [0, 0, 0.01, 10]
    assert [one.to_value(one.to_place(value)) for value in (0, 0.01, 3, 10)] == [0, 0.01, 3, 10]
    assert [one.contains(value) for value in (0, 0.005, 0.01, 11, True, "0")] == [
        True,
        False,
        True,
        False,
        False,
        False,
    ]
    without = LogUniform(kind="loguniform", low=0.01, high=10)
    assert without.axis_low == 0.01
    assert not without.contains(0)


def test_the_corners_of_a_plan_have_zero_in_place_of_the_low_bound() -> None:
    file = search_file(FILE)
    corners = choose_corners(file)
    assert {corner.level: corner.values[WEIGHT] for corner in corners} == {
        "high": 10, "low": 0, "middle": pytest.approx(0.1**0.5)
    }  # fmt: skip
    assert list_uncovered(file, corners) == []


def test_a_grid_refuses_it_in_one_line() -> None:
    text = GRID.replace("kind: choice, choices: [0.1, 0.01, 0.001]", "kind: loguniform, low: 0.1, high: 1, zero: true")
    with pytest.raises(ConfigError, match=r"sampler\.kind: got grid; valid: another, because space\.optim\.lr is not"):
        search_file(text)
