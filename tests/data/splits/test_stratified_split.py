import numpy as np
import pytest

from kmcl_platform.data.splits.stratified_split import carve, carve_split
from kmcl_platform.errors import DataError

GOLDEN = [9, 13, 22, 24, 25, 28, 30, 36]
"""The result of a small draw. If it changes, users' splits change too."""


def targets(num: int = 2000, seed: int = 0) -> np.ndarray:
    """Five classes, from frequent to 1 %."""
    return (np.random.default_rng(seed).random((num, 5)) < [0.5, 0.2, 0.1, 0.03, 0.01]).astype(np.int8)


def test_every_class_keeps_its_share() -> None:
    targets_NK = targets()
    drawn_N = carve(targets_NK, fraction=0.1, seed=0, what="val")
    assert abs(drawn_N.mean() - 0.1) < 0.002
    counts_K, drawn_K = targets_NK.sum(axis=0), targets_NK[drawn_N].sum(axis=0)
    assert (abs(drawn_K - 0.1 * counts_K) <= 1.5).all()


def test_a_class_of_two_images_is_on_both_sides() -> None:
    targets_NK = targets()
    targets_NK[:, 4] = 0
    targets_NK[[17, 1203], 4] = 1
    drawn_N = carve(targets_NK, fraction=0.1, seed=0, what="val")
    assert targets_NK[drawn_N, 4].sum() == 1


def test_groups_stay_whole() -> None:
    targets_NK = targets()
    groups = [f"patient {number // 7}" for number in range(len(targets_NK))]
    drawn_N = carve(targets_NK, fraction=0.2, seed=3, groups=groups, what="val")
    patients = {
        group: {bool(drawn_N[row]) for row in range(len(groups)) if groups[row] == group} for group in set(groups)
    }
    assert all(len(sides) == 1 for sides in patients.values())
    assert abs(drawn_N.mean() - 0.2) < 0.02
    np.testing.assert_allclose(targets_NK[drawn_N].sum(axis=0) / targets_NK.sum(axis=0), 0.2, atol=0.1)


def test_the_seed_decides() -> None:
    targets_NK = targets(300)
    draws = [carve(targets_NK, fraction=0.1, seed=seed, what="val") for seed in (0, 0, 1)]
    assert (draws[0] == draws[1]).all()
    assert (draws[0] != draws[2]).any()


def test_the_draw_is_the_same_on_every_machine() -> None:
    drawn_N = carve(targets(40), fraction=0.2, seed=5, what="val")
    assert np.flatnonzero(drawn_N).tolist() == GOLDEN


def test_unknown_labels_are_not_counted() -> None:
    targets_NK = np.full((20, 1), -1, dtype=np.int8)
    targets_NK[:2] = 1
    assert targets_NK[carve(targets_NK, fraction=0.1, seed=0, what="val")].tolist().count([1]) == 1


@pytest.mark.parametrize("num", [2, 3])
def test_both_sides_get_an_image(num: int) -> None:
    for fraction in (0.01, 0.99):
        drawn_N = carve(np.zeros((num, 2)), fraction=fraction, seed=0, what="val")
        assert 0 < drawn_N.sum() < num


def test_a_split_is_drawn_only_from_train() -> None:
    splits = ["test", "train"] * 20
    carved = carve_split(splits, targets(40), name="val", fraction=0.5, seed=0)
    assert carved[::2] == ["test"] * 20
    assert carved.count("val") == 10


@pytest.mark.parametrize("fraction", [0, 1, -0.5, float("nan")])
def test_a_fraction_out_of_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(DataError, match="^val: fraction: got .*; valid: above 0 and below 1$"):
        carve(targets(10), fraction=fraction, seed=0, what="val")


def test_a_single_group_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="^val: got 1 groups to draw from; valid: two or more$"):
        carve(targets(10), fraction=0.5, seed=0, groups=["a"] * 10, what="val")
