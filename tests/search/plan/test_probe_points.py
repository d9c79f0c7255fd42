"""The trials that are tried before a search: they have every bound and every choice, the costliest come first."""

from itertools import pairwise
from typing import Any

import pytest

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.search.plan.probe_points import MAX_CORNERS, choose_corners, list_uncovered, step_back, to_config

NUMBERS = {
    "loss.temperature": {"kind": "loguniform", "low": 0.01, "high": 1.0},
    "model.kernels_per_class": {"kind": "int", "low": 1, "high": 4},
    "data.batch_size": {"kind": "int", "low": 32, "high": 256},
}
CHOICES = {
    "model.kernel": {"kind": "choice", "choices": ["isotropic", "anisotropic", "rbf"]},
    "model.reduced_dim": {"kind": "int", "low": 16, "high": 64, "when": {"model.kernel": "anisotropic"}},
    "loss.formulation": {"kind": "choice", "choices": ["corrected", "released"]},
}


def search(space: dict[str, Any]) -> SearchFile:
    return SearchFile.model_validate({"name": "small", "space": space, "budget": {"trials": 5}})


def test_a_space_of_numbers_has_three_corners() -> None:
    corners = choose_corners(search(NUMBERS))
    assert [corner.level for corner in corners] == ["high", "middle", "low"]
    assert [corner.values for corner in corners] == [
        {"loss.temperature": 1.0, "model.kernels_per_class": 4, "data.batch_size": 256},
        {"loss.temperature": pytest.approx(0.1), "model.kernels_per_class": 2, "data.batch_size": 144},
        {"loss.temperature": 0.01, "model.kernels_per_class": 1, "data.batch_size": 32},
    ]


@pytest.mark.parametrize("space", [NUMBERS, CHOICES, NUMBERS | CHOICES, CHOICES | NUMBERS])
def test_every_bound_and_choice_is_in_some_corner(space: dict[str, Any]) -> None:
    file = search(space)
    corners = choose_corners(file)
    assert list_uncovered(file, corners) == []
    tried = {(path, value) for corner in corners for path, value in corner.values.items()}
    for path, distribution in space.items():
        for value in distribution.get("choices") or (distribution["low"], distribution["high"]):
            assert (path, value) in tried
    assert len(corners) <= 8


def test_each_choice_is_tried_with_the_high_numbers() -> None:
    file = search(NUMBERS | CHOICES)
    for path in ("model.kernel", "loss.formulation"):
        high = {corner.values[path] for corner in choose_corners(file) if corner.level == "high"}
        assert high == set(CHOICES[path]["choices"])  # type: ignore[arg-type]


def test_a_path_is_searched_only_where_its_condition_holds() -> None:
    for corner in choose_corners(search(CHOICES | NUMBERS)):
        assert ("model.reduced_dim" in corner.values) == (corner.values["model.kernel"] == "anisotropic")


def test_the_costliest_corners_come_first() -> None:
    file = search(NUMBERS | CHOICES)
    configs = [to_config(file, corner) for corner in choose_corners(file)]
    costs = [config.data.batch_size * config.model.kernels_per_class for config in configs]
    wide = [config.model.reduced_dim if config.model.kernel == "anisotropic" else 1 for config in configs]
    for (first, width), (second, other) in pairwise(zip(costs, wide, strict=True)):
        assert first * width >= second * other


def test_of_many_choices_some_are_not_tried_and_are_listed() -> None:
    seeds = {"seed": {"kind": "choice", "choices": list(range(40))}}
    file = search(NUMBERS | seeds)
    corners = choose_corners(file)
    assert len(corners) == MAX_CORNERS
    # Of the corners at bounds, the costliest stay.
    assert [corner.level for corner in corners] == ["high"] * (MAX_CORNERS - 1) + ["middle"]
    uncovered = list_uncovered(file, corners)
    assert "space.seed: choice 39" in uncovered
    assert "space.data.batch_size: low 32" in uncovered


def test_stepping_back_changes_one_path_and_the_paths_that_depend_on_it() -> None:
    file = search(CHOICES | NUMBERS)
    corner = next(corner for corner in choose_corners(file) if corner.values["model.kernel"] == "anisotropic")
    assert corner.level == "high"
    steps = step_back(file, corner)
    assert [(path, value) for path, value, _ in steps][:3] == [
        ("data.batch_size", 32),
        ("model.kernels_per_class", 1),
        ("model.reduced_dim", 16),
    ]
    for path, value, other in steps:
        assert other.values[path] == value
        changed = {name for name in corner.values | other.values if corner.values.get(name) != other.values.get(name)}
        assert changed == ({path, "model.reduced_dim"} if path == "model.kernel" else {path})
