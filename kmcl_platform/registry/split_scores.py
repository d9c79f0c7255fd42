"""A model's scores of a whole split: from a checkpoint that kept them, or by scoring the images.

Legend of shapes: N images, K classes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from kmcl_platform.data.manifest import Manifest
from kmcl_platform.registry.predictor import Predictor
from kmcl_platform.training.build import build_dataset
from kmcl_platform.training.evaluate import score_split
from kmcl_platform.training.workers import join_workers

SCORES = "val_scores.safetensors"
"""Within a checkpoint: `scores_NK` and `targets_NK` of its averaged weights on the validation split, in its order."""


@dataclass(frozen=True)
class SplitScores:
    """Scores in the split's order: raw probabilities, and targets of 1, 0, or -1 for unknown."""

    scores_NK: np.ndarray
    targets_NK: np.ndarray


def score_images(predictor: Predictor, manifest: Manifest, split: str) -> SplitScores:
    """Score a split.

    Raises:
        DataError: the split has no images, or they cannot be read.
    """
    workers = join_workers()
    scores_NK, targets_NK = score_split(
        predictor.model.to(workers.device),
        build_dataset(predictor.config, manifest, split),
        batch_size=predictor.config.data.batch_size,
        workers=workers,
        processes=predictor.config.data.loader_processes,
    )
    return SplitScores(scores_NK.numpy(), targets_NK.numpy())


def read_or_score_validation(checkpoint: Path, predictor: Predictor, manifest: Manifest) -> SplitScores:
    """A checkpoint's scores on the validation split: those that it kept, if they are of this data, else scored anew.

    Args:
        checkpoint: its folder.
        predictor: the model of its averaged weights.
        manifest: the data.

    Raises:
        DataError: the split has no images, or they cannot be read.
    """
    targets_NK = manifest.targets("val")
    try:
        kept = load_file(checkpoint / SCORES)
        if kept["scores_NK"].shape == targets_NK.shape and np.array_equal(kept["targets_NK"], targets_NK):
            return SplitScores(kept["scores_NK"], kept["targets_NK"])
    except (OSError, KeyError, SafetensorError):
        pass  # A trial of before such a file was kept.
    return score_images(predictor, manifest, "val")
