"""The columns of the registered model's input and output, and the names of its files."""

IMAGE_COLUMN = "image"
"""Input: the encoded bytes of one image (JPEG, PNG, …)."""

PATH_COLUMN = "path"
"""Input instead: the path of an image file."""

ARRAY_COLUMN = "array"
"""Input instead: pixels of one image, uint8, height x width x 3 (red, green, blue)."""

INPUT_COLUMNS = (IMAGE_COLUMN, PATH_COLUMN, ARRAY_COLUMN)
"""Exactly one of them is given."""

RAW_SCORES = "raw_scores"
"""Parameter: give scores as the network was trained, before calibration; labels and decisions stay the same."""

LABELS_COLUMN = "labels"
"""Output: names of the classes that are predicted, joined by `|`, the most probable first."""

SCORE_PREFIX = "score: "
"""Output: `score: NAME` is the calibrated probability of class NAME, in [0, 1]."""

UNCERTAINTY_PREFIX = "uncertainty: "
"""Output, of models whose kernels were trained: `uncertainty: NAME` is the uncertainty of class NAME, in [0, 1)."""

DECISION_PREFIX = "decision: "
"""Output: `decision: NAME` says whether class NAME is predicted: its calibrated score is above its threshold."""

TARGET_PREFIX = "target: "
"""Of a prediction over a manifest: `target: NAME` is the truth, 1 positive, 0 negative, -1 unknown."""

THRESHOLD = 0.5
"""Models that were registered before there were rules of decision read this."""

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
