"""A candidate for promotion: its scores on the sealed test split, and the measurements that the gates need."""

import statistics
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from kmcl_platform.config.after_search import Promotion
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.scores_file import SplitScores
from kmcl_platform.errors import RegistryError
from kmcl_platform.messages import show_value
from kmcl_platform.method.metrics import average_precision_per_class
from kmcl_platform.registry.calibration.error import expected_calibration_error
from kmcl_platform.registry.calibration.fit_decision_rule import FittedRule
from kmcl_platform.registry.model.error_detection import ErrorDetection
from kmcl_platform.registry.model.model_folder import read_predictor
from kmcl_platform.registry.model.predictor import Predictor
from kmcl_platform.registry.model.schema import WEIGHTS
from kmcl_platform.registry.model.versions import PACKAGED_MODEL
from kmcl_platform.registry.package.log_model import log_model
from kmcl_platform.registry.promotion.bootstrap import bootstrap_difference
from kmcl_platform.registry.promotion.champion import Champion
from kmcl_platform.registry.promotion.gates import Measured
from kmcl_platform.registry.promotion.members import Member, label_of
from kmcl_platform.registry.promotion.reload_parity import NUM_IMAGES, measure_parity, reference_scores
from kmcl_platform.registry.promotion.sealed_test_split import read_or_open
from kmcl_platform.registry.promotion.split_scores import read_inputs
from kmcl_platform.tracking.database import as_default, write
from kmcl_platform.tracking.runs.dataset_input import DIGEST_LENGTH, other_digests
from kmcl_platform.tracking.runs.leaderboard import Leaderboard, LeaderboardRow
from kmcl_platform.training.checkpoints.checkpoint import TrialProgress
from kmcl_platform.training.evaluate import split_metrics

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TIMED_IMAGES = 20
_WARM_UP_IMAGES = 3
"""Passes before the timed ones: the first passes also allocate memory and choose algorithms."""


@dataclass(frozen=True)
class Candidate:
    """The trial, or the ensemble of trials, that is to be promoted.

    Attributes:
        client: connected to the store.
        board: its search's leaderboard.
        members: the trials.
        run_id: the trial's run, or that of the ensemble.
        manifest: its data.
        folder: the model, as `write_model` wrote it.
        fitted: its decision rule, which is in the folder too.
        error_detection: what was measured on validation about finding wrong decisions; in the folder too.
    """

    client: "MlflowClient"
    board: Leaderboard
    members: tuple[Member, ...]
    run_id: str
    manifest: Manifest
    folder: Path
    fitted: FittedRule
    error_detection: ErrorDetection

    @property
    def state(self) -> TrialProgress:
        """The progress of the first member."""
        return self.members[0].state

    @property
    def label(self) -> str:
        """`6` for one trial, `6-13-1` for several."""
        return label_of(self.members)

    def predictor(self, device: torch.device | None = None) -> Predictor:
        """The model, loaded on a device. None: the GPU if there is one."""
        return read_predictor(self.folder, device)

    def score(self, champion: Champion | None) -> tuple[SplitScores, SplitScores | None]:
        """Its scores on the test split, and those of the champion if there is one."""
        scores = self._read_or_open(self.run_id, self.label, self.predictor())
        if champion is None:
            return scores, None
        # Its scores are an artifact of its run since its own promotion. Only changed data opens the split again.
        rival = read_predictor(champion.package / PACKAGED_MODEL)
        return scores, self._read_or_open(champion.run_id, champion.number, rival)

    def _read_or_open(self, run_id: str, number: str, predictor: Predictor) -> SplitScores:
        return read_or_open(self.client, self.board.parent_id, run_id, number, predictor, self.manifest)

    def log_metrics(self, metrics: dict[str, float]) -> None:
        """Write its metrics to its run; those that the run has already stay as they are.

        A trial's run has the metrics on validation, with one value for each epoch.
        """
        # A second promotion measures the same values. MLflow would append them as further points.
        logged = self.client.get_run(self.run_id).data.metrics
        new = {name: value for name, value in metrics.items() if name not in logged}
        if len(self.members) == 1:
            new = {name: value for name, value in new.items() if name.startswith("test/")}
        write(self.client, self.run_id, metrics=new, step=self.state.epoch)

    def log(self) -> str:
        """Log the model with its run; returns the logged model's id."""
        return log_model(
            self.client,
            self.run_id,
            f"trial-{self.members[0].row.number:04d}" if len(self.members) == 1 else f"ensemble-{self.label}",
            self.folder,
            self.manifest,
            self.state.epoch,
            example=read_inputs(self.predictor(), self.manifest, "train", 1)[0],
            shows_uncertainty=self.error_detection.shows_uncertainty,
        )

    def package(self, model_id: str) -> Path:
        """The logged model's files."""
        from mlflow.artifacts import download_artifacts

        with as_default(self.client):
            return Path(download_artifacts(artifact_uri=f"models:/{model_id}", tracking_uri=self.client.tracking_uri))

    def discard(self, model_id: str) -> None:
        """Delete its logged model, unless a version of the registry refers to it.

        A promotion that fails after its version was registered must not take the files away from that version.
        """
        if not self.client.search_model_versions(f"source_path = 'models:/{model_id}'"):
            self.client.delete_logged_model(model_id)


def check_data(client: "MlflowClient", row: LeaderboardRow, source: str, manifest: Manifest) -> None:
    """Refuse a manifest that a trial was not trained on.

    An import can replace the file of the manifest. With splits that were drawn again, images that the trial was trained
    on would be in `test`, and its score there would be too good.

    Raises:
        RegistryError: the run of the trial has another manifest as its input.
    """
    others = other_digests(client.get_run(row.run_id), manifest)
    if others:
        raise RegistryError(
            f"data.source: got {show_value(source)} with content hash {manifest.content_hash[:DIGEST_LENGTH]}…; valid: "
            f"{others[0]}…, the data that trial {row.number} was trained on (restore that manifest, or begin a search "
            "with another name)"
        )


def metrics_of_split(split: str, scores: SplitScores, plugins: Collection[str]) -> dict[str, float]:
    """Every metric of a split, also those of plug-ins, as `SPLIT/NAME`."""
    return split_metrics(split, torch.from_numpy(scores.scores_NK), torch.from_numpy(scores.targets_NK), plugins)


def measure(
    candidate: Candidate,
    scores: SplitScores,
    rival: SplitScores | None,
    bounds: Promotion,
    package: Path,
    problem: str = "",
) -> Measured:
    """Measure what the gates need.

    Args:
        candidate: the trial.
        scores: its scores on the test split.
        rival: the champion's. None: there is no champion to compare with.
        bounds: of the gates.
        package: the logged model's files.
        problem: why the champion, which exists, cannot be compared with. Empty: there is no such problem.

    Raises:
        RegistryError: the logged model cannot be loaded.
    """
    count = min(NUM_IMAGES, len(scores.scores_NK))
    # The first images of the split, so that their scores are the first rows of `scores`.
    predictor = candidate.predictor()
    inputs = read_inputs(predictor, candidate.manifest, "test", count)
    difference = None
    if rival is not None:
        difference = bootstrap_difference(
            scores.scores_NK,
            rival.scores_NK,
            scores.targets_NK,
            resamples=bounds.resamples,
            confidence=bounds.confidence,
        )
    on_cpu = partial(candidate.predictor, torch.device("cpu"))
    expected_NK = reference_scores(predictor.device, scores.scores_NK[:count], inputs, on_cpu)
    return Measured(
        difference=difference,
        class_drops={} if rival is None else _class_drops(scores, rival, candidate.manifest.class_names, bounds),
        calibration_error=expected_calibration_error(predictor.rule.calibrate(scores.scores_NK), scores.targets_NK),
        latency_ms=_measure_latency(predictor, inputs),
        size_mb=(candidate.folder / WEIGHTS).stat().st_size / 1e6,
        parity=measure_parity(package, inputs, expected_NK, candidate.manifest.class_names),
        problem=problem,
    )


def _class_drops(
    scores: SplitScores, rival: SplitScores, class_names: tuple[str, ...], bounds: Promotion
) -> dict[str, float]:
    targets_NK = torch.from_numpy(scores.targets_NK)
    own_K, rival_K = (
        average_precision_per_class(torch.from_numpy(found.scores_NK), targets_NK) for found in (scores, rival)
    )
    # `class_min_positives` is at least 1, so no compared AP is NaN.
    enough_K = (targets_NK == 1).sum(0) >= bounds.class_min_positives
    return {name: float(rival_K[k] - own_K[k]) for k, name in enumerate(class_names) if enough_K[k]}


def _measure_latency(predictor: Predictor, inputs: list[bytes | np.ndarray]) -> float:
    taken = []
    for place in range(_WARM_UP_IMAGES + _TIMED_IMAGES):
        started = time.perf_counter()
        predictor.predict([inputs[place % len(inputs)]])
        taken.append(1000 * (time.perf_counter() - started))
    # The median: a moment of other load on the machine does not change it.
    return statistics.median(taken[_WARM_UP_IMAGES:])
