"""The surrogate: learning curves of points that are not in the archive, with the noise between seeds.

Legend of shapes: N trials, E epochs, D numbers that describe a point, P principal components of the curves.
"""

import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve
from scipy.stats import kendalltau
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from kmcl_platform.config.reports.epoch_report import objective_names
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.trial_config import Scalar
from kmcl_platform.search.replay.archive_curves import ArchiveCurves, Curve
from kmcl_platform.search.sampling.encoding import encode

_EXPLAINED = 0.999
"""Share of the curves' variance that the components explain together."""
_MOST_COMPONENTS = 5
_ALIKE = 3
"""Points with several seeds from which the noise of another point is taken: those that end nearest to it."""


@dataclass(frozen=True)
class Quality:
    """How well the surrogate knows the archive, and how much trials differ by chance.

    Attributes:
        error: median absolute error of the last value of a trial that is left out.
        order: Kendall's τ between the predicted and the true order of such trials. None: all of them end equal.
        noise: standard deviation of the last value between seeds. None: the archive has no point with several seeds.
        points_with_seeds: number of points that were trained on several seeds.
        adds_noise: whether curves get this noise: not if they are all of the file's own seed.
    """

    error: float
    order: float | None
    noise: float | None
    points_with_seeds: int
    adds_noise: bool


class Surrogate:
    """Curves for every point of a search file's space.

    A point of the archive has its own curve; of several seeds, one of them by chance. For any other point, a Gaussian
    process (Matérn 5/2, a length for each dimension) gives the scores of the curve's principal components. If the
    curves are of several seeds, the deviation of one trained seed from the mean of its point is added, of a point that
    ends at about the same value: good points vary less. A point diverges where the nearest trial of the archive did.
    """

    def __init__(self, archive: ArchiveCurves, file: SearchFile) -> None:
        """Fit to the archive's curves; takes seconds."""
        self._file = file
        self._curves = [archive.curves[row] for row in archive.own]
        every_ND = np.array([encode(point, file) for point in archive.points])
        inputs_ND = every_ND[archive.own]
        # Equal inputs are one point: paths whose condition does not hold do not count.
        self._known: dict[bytes, list[int]] = defaultdict(list)
        for row, input_D in enumerate(inputs_ND):
            self._known[input_D.tobytes()].append(row)
        self._inputs_ND = inputs_ND
        # All metrics of our own on the validation split are shares; those of a plug-in may be anything.
        metric = file.objective.metric
        self._is_share = metric.startswith("val/") and metric in objective_names(built_in=True)
        # The noise between seeds is known from the trials of all seeds, also if the curves are of one.
        finished = [row for row, curve in enumerate(archive.curves) if not curve.diverged]
        found = _deviations(
            np.array([archive.curves[row].values_E for row in finished]),
            every_ND[finished],
            [archive.seeds[row] for row in finished],
        )
        adds_noise = len(archive.own) == len(archive.curves)
        self._deviations = found.by_point if adds_noise else []
        whole = [row for row, curve in enumerate(self._curves) if not curve.diverged]
        curves_NE = np.array([self._curves[row].values_E for row in whole])
        self._seconds = float(np.median([second for row in whole for second in self._curves[row].seconds_E]))
        self._mean_E = curves_NE.mean(0)
        centred_NE = curves_NE - self._mean_E
        _, sizes, components = np.linalg.svd(centred_NE, full_matrices=False)
        explained = np.cumsum(sizes**2) / max(np.sum(sizes**2), 1e-300)
        count = min(int(np.searchsorted(explained, _EXPLAINED)) + 1, _MOST_COMPONENTS, len(sizes))
        self._components_PE = components[:count]
        self._models = [_fit(inputs_ND[whole], centred_NE @ component_E) for component_E in self._components_PE]
        left_out_NE = curves_NE - np.stack([_left_out(model) for model in self._models], 1) @ self._components_PE
        # What the components do not explain stays in the error.
        predicted_N = left_out_NE[:, -1]
        order = float(kendalltau(predicted_N, curves_NE[:, -1]).statistic)
        self.quality = Quality(
            error=float(np.median(np.abs(predicted_N - curves_NE[:, -1]))),
            order=None if math.isnan(order) else order,
            noise=found.noise,
            points_with_seeds=len(found.by_point),
            adds_noise=adds_noise,
        )

    def curve(self, values: Mapping[str, Scalar], rng: np.random.Generator) -> Curve:
        """The curve of a point.

        Args:
            values: of the searched paths; a path that is missing has the base's value.
            rng: chance of this trial.
        """
        input_D = encode(values, self._file)
        if rows := self._known.get(input_D.tobytes()):
            return self._curves[int(rng.choice(rows))]
        nearest = int(np.argmin(((self._inputs_ND - input_D) ** 2).sum(1)))
        if self._curves[nearest].diverged:
            return self._curves[nearest]
        scores = [float(model.predict(input_D[None])[0]) for model in self._models]
        values_E = self._mean_E + np.array(scores) @ self._components_PE
        if self._deviations:
            alike = sorted(self._deviations, key=lambda one: abs(one.end - float(values_E[-1])))[:_ALIKE]
            deviations_SE = np.concatenate([one.deviations_SE for one in alike])
            values_E = values_E + deviations_SE[rng.integers(len(deviations_SE))]
        if self._is_share:
            values_E = np.clip(values_E, 0.0, 1.0)
        return Curve(tuple(values_E.tolist()), (self._seconds,) * len(values_E))


def _fit(inputs_ND: np.ndarray, targets_N: np.ndarray) -> GaussianProcessRegressor:
    size = inputs_ND.shape[1]
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern([0.5] * size, (0.05, 20.0), nu=2.5) + WhiteKernel(0.1, (1e-5, 1))
    model = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=1, random_state=0)
    with warnings.catch_warnings():
        # A length at its bound is a dimension without effect.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(inputs_ND, targets_N)


def _left_out(model: GaussianProcessRegressor) -> np.ndarray:
    """For each trial, the error of a model that was fitted without it (its kernel stays); error_N.

    Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, equation 5.12.
    """
    inverse_NN = cho_solve((model.L_, True), np.eye(len(model.L_)))
    error_N: np.ndarray = model.alpha_ / np.diag(inverse_NN) * model._y_train_std
    return error_N


class _PointDeviations(NamedTuple):
    """What chance adds to the curve of a point: S deviations_SE. `end`: its mean last value."""

    end: float
    deviations_SE: np.ndarray


class _Noise(NamedTuple):
    """The points with several seeds, and the standard deviation of the last value; None: there are no such points."""

    by_point: list[_PointDeviations]
    noise: float | None


def _deviations(curves_NE: np.ndarray, inputs_ND: np.ndarray, seeds: Sequence[int]) -> _Noise:
    # The first trial of each seed: a second one, of another search, says nothing about the noise between seeds.
    groups: dict[bytes, dict[int, int]] = defaultdict(dict)
    for row, (input_D, seed) in enumerate(zip(inputs_ND, seeds, strict=True)):
        groups[input_D.tobytes()].setdefault(seed, row)
    parts, squares, freedom = [], 0.0, 0
    for rows in [list(by_seed.values()) for by_seed in groups.values()]:
        if len(rows) < 2:
            continue
        mean_E = curves_NE[rows].mean(0)
        centred = curves_NE[rows] - mean_E
        # The mean of n trials is nearer to them than the true one: √(n/(n-1)) makes up for it.
        parts.append(_PointDeviations(float(mean_E[-1]), centred * (len(rows) / (len(rows) - 1)) ** 0.5))
        squares += float((centred[:, -1] ** 2).sum())
        freedom += len(rows) - 1
    return _Noise(parts, (squares / freedom) ** 0.5 if parts else None)
