"""A model's scores of a whole split: from a checkpoint that kept them, or by scoring the images.

Legend of shapes: N images, K classes.
"""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.scores_file import VALIDATION_SCORES, SplitScores, read_scores
from kmcl_platform.registry.model.predictor import Predictor
from kmcl_platform.training.build import build_dataset
from kmcl_platform.training.evaluate import score_split
from kmcl_platform.training.workers.distributed import join_workers


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
        kept = read_scores(checkpoint / VALIDATION_SCORES)
    except (OSError, KeyError, SafetensorError):
        return score_images(predictor, manifest, "val")  # A trial of before such a file was kept.
    if kept.scores_NK.shape != targets_NK.shape or not np.array_equal(kept.targets_NK, targets_NK):
        return score_images(predictor, manifest, "val")
    return kept
