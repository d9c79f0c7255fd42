"""The columns of the registered model's input and output, and the names of its files."""

IMAGE_COLUMN = "image"
"""Input: the encoded bytes of one image (JPEG, PNG, …)."""

LABELS_COLUMN = "labels"
"""Output: names of the classes that are predicted, joined by `|`, the most probable first."""

SCORE_PREFIX = "score: "
"""Output: `score: NAME` is the probability of class NAME, in [0, 1]."""

UNCERTAINTY_PREFIX = "uncertainty: "
"""Output, of models whose kernels were trained: `uncertainty: NAME` is the uncertainty of class NAME, in [0, 1)."""

THRESHOLD = 0.5
"""Smallest probability of a predicted class."""

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
