"""A model's scores on a whole split, as a safetensors file. It is written next to the weights that gave the scores.

Legend of shapes: N images of the split, in its order; K classes.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file, save

VALIDATION_SCORES = "val_scores.safetensors"
"""Name of the file in a checkpoint."""


class SplitScores(NamedTuple):
    """The scores of a split's images, and their targets.

    Attributes:
        scores_NK: float32 probabilities in [0, 1].
        targets_NK: int8; 1 positive, 0 negative, -1 unknown.
    """

    scores_NK: np.ndarray
    targets_NK: np.ndarray


def scores_to_bytes(scores: SplitScores) -> bytes:
    """The content of the file."""
    tensors: dict[str, np.ndarray] = {
        "scores_NK": np.ascontiguousarray(scores.scores_NK, dtype=np.float32),
        "targets_NK": np.ascontiguousarray(scores.targets_NK, dtype=np.int8),
    }
    return save(tensors)


def read_scores(path: Path) -> SplitScores:
    """Read the file.

    Raises:
        FileNotFoundError: it does not exist.
        SafetensorError: its content is damaged.
    """
    tensors = load_file(path)
    return SplitScores(tensors["scores_NK"], tensors["targets_NK"])
