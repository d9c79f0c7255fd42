"""The curves of points that are not in the archive, and the noise between seeds."""

from typing import Any

import numpy as np
import pytest

from kmcl_platform.search.replay.archive_curves import ArchiveCurves
from kmcl_platform.search.replay.surrogate import Surrogate, _PointDeviations
from tests.search.replay.synthetic import FILE, NOISE, OTHER_SEED, curve


def test_trials_of_one_seed_have_no_noise_between_seeds(archive: ArchiveCurves, surrogate: Surrogate) -> None:
    assert len(archive.curves) == 112 and len(archive.own) == 80
    # The noise is known from the other seeds, and not added.
    assert surrogate.quality.noise == pytest.approx(NOISE, rel=0.35) and not surrogate.quality.adds_noise
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {"optim.lr": 3e-3, "loss.temperature": 0.3}
    assert len({surrogate.curve(values, rng) for _ in range(20)}) == 1
    # The first eight points have five seeds, of which the first is the file's.
    assert {surrogate.curve(archive.points[0], rng) for _ in range(60)} == {archive.curves[0]}


def test_noise_comes_from_points_that_end_alike(all_seeds: ArchiveCurves) -> None:
    surrogate = Surrogate(all_seeds, OTHER_SEED)
    quiet, loud = np.zeros((2, 6)), np.ones((2, 6))
    values: dict[str, Any] = {"optim.lr": 3e-3, "loss.temperature": 0.3}
    rng = np.random.default_rng(0)
    surrogate._deviations = []
    end = surrogate.curve(values, rng).values_E[-1]
    near = [_PointDeviations(end + distance, quiet) for distance in (-0.1, 0.0, 0.1)]
    surrogate._deviations = [_PointDeviations(end - 0.2, loud), *near, _PointDeviations(end + 0.2, loud)]
    assert {surrogate.curve(values, rng).values_E[-1] for _ in range(40)} == {end}


def test_the_surrogate_knows_the_formula_and_the_noise(noisy: Surrogate) -> None:
    surrogate = noisy
    assert surrogate.quality.adds_noise
    assert surrogate.quality.noise == pytest.approx(NOISE, rel=0.35)
    # The other one of the eight points with seeds diverged.
    assert surrogate.quality.points_with_seeds == 7
    assert surrogate.quality.error < 1.5 * NOISE
    assert surrogate.quality.order > 0.8
    rng = np.random.default_rng(0)
    for lr, temperature in ((3e-3, 0.3), (2e-4, 0.9), (3e-2, 0.6)):
        config = FILE.base.with_values({"optim.lr": lr, "loss.temperature": temperature})
        values = {"optim.lr": lr, "loss.temperature": temperature}
        drawn = np.array([surrogate.curve(values, rng).values_E for _ in range(60)])
        assert drawn.mean(0) == pytest.approx(curve(config), abs=0.02)
        assert drawn[:, -1].std() == pytest.approx(surrogate.quality.noise, rel=0.5)


def test_a_point_of_the_archive_has_its_own_curve(all_seeds: ArchiveCurves, noisy: Surrogate) -> None:
    archive, surrogate = all_seeds, noisy
    rng = np.random.default_rng(0)
    assert surrogate.curve(archive.points[-1], rng) in archive.curves
    first = [row for row, point in enumerate(archive.points) if point == archive.points[0]]
    assert len(first) == 5
    # One of the trained seeds by chance.
    found = {surrogate.curve(archive.points[0], rng) for _ in range(60)}
    assert found == {archive.curves[row] for row in first}


def test_a_point_diverges_where_its_neighbour_did(archive: ArchiveCurves, surrogate: Surrogate) -> None:
    row = next(row for row, one in enumerate(archive.curves) if one.diverged)
    near = archive.points[row] | {"optim.lr": float(archive.points[row]["optim.lr"] or 0) * 1.001}
    found = surrogate.curve(near, np.random.default_rng(0))
    assert found.diverged and len(found.values_E) == 2 and len(found.seconds_E) == 3
