"""A model's scores of a whole split, and what they show about finding wrong decisions.

Legend of shapes: N images, K classes.
"""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from kmcl_platform.config.after_search import Promotion
from kmcl_platform.config.store import Store
from kmcl_platform.data.loading.feature_dataset import FeatureDataset, SplitDataset
from kmcl_platform.data.loading.loader import build_loader
from kmcl_platform.data.loading.own_features import digest_own_features, read_own_features, rows_of_split
from kmcl_platform.data.loading.samplers import ShardedSequence
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.scores_file import VALIDATION_SCORES, SplitScores, read_scores
from kmcl_platform.errors import RegistryError
from kmcl_platform.messages import show_value
from kmcl_platform.registry.calibration.measure_error_detection import measure_detection_area
from kmcl_platform.registry.model.decision_rule import DecisionRule
from kmcl_platform.registry.model.error_detection import ErrorDetection, binary_entropy
from kmcl_platform.registry.model.predictor import Predictor
from kmcl_platform.training.build import build_dataset
from kmcl_platform.training.checkpoints.checkpoint import TrialProgress
from kmcl_platform.training.evaluate import SplitScorer
from kmcl_platform.training.workers.distributed import join_workers

_DETECTION_IMAGES = 2000
"""Images for the measurement of wrong decisions; the interval then has a width of a few hundredths."""


def open_split(predictor: Predictor, manifest: Manifest, split: str) -> SplitDataset:
    """What a model predicts a split from: its images, or their rows in the user's own features.

    Raises:
        DataError: the split has no images; or the file of features cannot be read, or does not match the manifest.
    """
    file = predictor.config.data.features
    if file is None:
        return build_dataset(predictor.config, manifest, split)
    rows_N = rows_of_split(manifest, split)
    features_1ND = read_own_features(file, manifest)[rows_N].astype(np.float32)[np.newaxis]
    return FeatureDataset(features_1ND, np.arange(len(rows_N)), manifest.targets(split))


def check_features(store: Store, state: TrialProgress) -> None:
    """Refuse a file of the user's own features that the trial was not trained on.

    Raises:
        DataError: the file cannot be read.
        RegistryError: it was replaced.
    """
    file, before = state.config.data.features, state.features
    if file is None:
        return
    now = digest_own_features(file, store.features / "pictures")
    if now != before:
        raise RegistryError(
            f"data.features: got {show_value(file)} with content hash {now[:12]}…; valid: {before[:12]}…, the features "
            "that the trial was trained on (restore that file, or begin a search with another name)"
        )


def read_inputs(predictor: Predictor, manifest: Manifest, split: str, count: int) -> list[bytes | np.ndarray]:
    """The first inputs of a split as a user has them: encoded images, or features_D."""
    if predictor.config.data.features is None:
        return [manifest.encoded_image(split, row) for row in range(count)]
    features_BD, _ = open_split(predictor, manifest, split).__getitems__(list(range(count)))
    return list(features_BD.numpy())


def score_images(predictor: Predictor, manifest: Manifest, split: str) -> SplitScores:
    """Score a split.

    Raises:
        DataError: the split has no images, or they cannot be read.
    """
    # Outside a training run this is a group of one: this process.
    workers = join_workers()
    scorer = SplitScorer(
        open_split(predictor, manifest, split),
        batch_size=predictor.config.data.batch_size,
        workers=workers,
        processes=predictor.config.data.loader_processes,
    )
    scores_NK, targets_NK = scorer.score(predictor.model.to(workers.device))
    return SplitScores(scores_NK.numpy(), targets_NK.numpy())


def read_or_score_validation(checkpoint: Path, predictor: Predictor, manifest: Manifest) -> SplitScores:
    """A checkpoint's scores on the validation split: those in the checkpoint if they fit this data, otherwise new ones.

    Args:
        checkpoint: its folder.
        predictor: the model of its averaged weights.
        manifest: the data.

    Raises:
        DataError: the split has no images, or they cannot be read.
    """
    targets_NK = manifest.targets("val")
    try:
        stored = read_scores(checkpoint / VALIDATION_SCORES)
    except (OSError, KeyError, SafetensorError):
        return score_images(predictor, manifest, "val")  # Older checkpoints have no such file.
    # The data was changed since the checkpoint, so the stored scores may be of other images.
    if stored.scores_NK.shape != targets_NK.shape or not np.array_equal(stored.targets_NK, targets_NK):
        return score_images(predictor, manifest, "val")
    return stored


def measure_error_detection(
    predictor: Predictor, manifest: Manifest, validation: SplitScores, rule: DecisionRule, bounds: Promotion
) -> ErrorDetection:
    """Measure on the validation split how well entropy and uncertainty find the wrong decisions of a model.

    Both are measured on the same images: 2,000 at most, at equal distances in the split.

    Args:
        predictor: the model.
        manifest: the data.
        validation: the model's scores on the validation split, before calibration.
        rule: of decision, fitted to these scores.
        bounds: with the confidence and the number of resamples.

    Raises:
        DataError: an image cannot be read.
    """
    # The quotient, rounded up.
    step = max(1, -(-len(validation.scores_NK) // _DETECTION_IMAGES))
    targets_NK = validation.targets_NK[::step]
    calibrated_NK = rule.calibrate(validation.scores_NK[::step])
    # Unknown labels look negative in `wrong_NK`; wherever it is used, `known_NK` leaves them out.
    wrong_NK, known_NK = rule.decide(calibrated_NK) != (targets_NK == 1), targets_NK >= 0
    values = {"entropy": binary_entropy(calibrated_NK)}
    if predictor.has_uncertainty:
        values["uncertainty"] = _kernel_uncertainties(predictor, manifest, step)
    areas = {
        name: measure_detection_area(
            values_NK, wrong_NK, known_NK, resamples=bounds.resamples, confidence=bounds.confidence
        )
        for name, values_NK in values.items()
    }
    return ErrorDetection(
        images=len(targets_NK),
        decisions=int(known_NK.sum()),
        wrong=int((wrong_NK & known_NK).sum()),
        confidence=bounds.confidence,
        entropy=areas["entropy"],
        uncertainty=areas.get("uncertainty"),
    )


def _kernel_uncertainties(predictor: Predictor, manifest: Manifest, step: int) -> np.ndarray:
    """Uncertainties of every step-th validation image: uncertainties_NK, float32."""
    dataset = open_split(predictor, manifest, "val")
    loader = build_loader(
        dataset,
        # The share of rank 0 among `step` ranks is every step-th image, like the slices in the caller.
        ShardedSequence(len(dataset), rank=0, world_size=step),
        batch_size=predictor.config.data.batch_size,
        drop_last=False,
        processes=predictor.config.data.loader_processes,
        pin_memory=False,
    )
    parts: list[np.ndarray] = []
    for images_B3HW, _ in loader:
        uncertainties_NK = predictor.predict_pixels(images_B3HW).uncertainties_NK
        assert uncertainties_NK is not None  # The caller calls this only if the kernels were trained.
        parts.append(uncertainties_NK)
    return np.concatenate(parts)
