"""The columns of the registered model's input and output, and the names of its files."""

IMAGE_COLUMN = "image"
"""Input: the encoded bytes of one image (JPEG, PNG, …)."""

PATH_COLUMN = "path"
"""Another input: the path of an image file."""

ARRAY_COLUMN = "array"
"""Another input: the pixels of one image, uint8, height x width x 3 (red, green, blue)."""

FEATURES_COLUMN = "features"
"""The only input of a model that was made from a user's own features: a list of numbers for each row."""

INPUT_COLUMNS = (IMAGE_COLUMN, PATH_COLUMN, ARRAY_COLUMN)
"""A request has exactly one of them."""

RAW_SCORES = "raw_scores"
"""Parameter: give scores before calibration; all other columns stay the same."""

LABELS_COLUMN = "labels"
"""Output: the names of the predicted classes, joined by `|`, the most probable first."""

SCORE_PREFIX = "score: "
"""Output: `score: NAME` is the calibrated probability of class NAME, in [0, 1]."""

ENTROPY_PREFIX = "entropy: "
"""Output: `entropy: NAME` is the entropy of that probability, in bits, in [0, 1]: 0 is certain, 1 is a score of 0.5."""

UNCERTAINTY_PREFIX = "uncertainty: "
"""Output of some models: `uncertainty: NAME` is the uncertainty of the kernels of class NAME, in [0, 1).

A model has it only if its promotion measured that it separates wrong decisions from right ones.
"""

DECISION_PREFIX = "decision: "
"""Output: `decision: NAME` is true if class NAME is predicted: its calibrated score is above its threshold."""

TARGET_PREFIX = "target: "
"""In a prediction over a manifest: `target: NAME` is the truth, 1 positive, 0 negative, -1 unknown."""

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
