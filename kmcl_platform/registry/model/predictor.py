"""Predictor: a trained model in use, from a folder of two files to the scores and uncertainties of labels.

The folder holds `model.safetensors` (weights) and `model.json` (the trial's configuration, the class names, the
decision rule and what was measured about finding wrong decisions). No file in it can run code.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from kmcl_platform.config.loss_config import LossConfig
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.loading.decode import UndecodableError, decode_pixels
from kmcl_platform.data.loading.to_rgb import WHITE, Colour, parse_colour
from kmcl_platform.data.loading.transforms import EvalTransform
from kmcl_platform.errors import DataError, RegistryError
from kmcl_platform.files.atomic_write import write_atomically
from kmcl_platform.method.kernels.uncertainty import label_uncertainty
from kmcl_platform.method.networks.model import KmclModel
from kmcl_platform.plugins.source import know_documents, to_documents
from kmcl_platform.registry.model.decision_rule import DecisionRule, default_rule, read_rule
from kmcl_platform.registry.model.error_detection import ErrorDetection, read_error_detection
from kmcl_platform.registry.model.prediction_table import to_columns
from kmcl_platform.registry.model.schema import DESCRIPTION, WEIGHTS
from kmcl_platform.training.build import build_model

_LOGITS = "head.logit_layer.weight"
BATCH_SIZE = 64
"""Images in one forward pass."""


class Prediction(NamedTuple):
    """A model's scores of N images and K classes.

    Attributes:
        scores_NK: float32 probabilities in [0, 1], before calibration.
        uncertainties_NK: float32 uncertainties of the kernels, in [0, 1). None: the kernels were not trained.
    """

    scores_NK: np.ndarray
    uncertainties_NK: np.ndarray | None


def trains_kernels(config: LossConfig) -> bool:
    """Whether the objective trains the kernels; without training their variances have no meaning."""
    return sum(config.kernel_weights) > 0


class Predictor:
    """A model with the preparation of its images, its class names and its decision rule.

    Attributes:
        model: the network, in evaluation mode.
        config: of the trial that trained it.
        class_names: K names, in the order of the scores.
        rule: from scores to decisions.
        error_detection: what promotion measured about finding wrong decisions. None: not measured.
        device: where it computes.
    """

    def __init__(
        self,
        model: KmclModel,
        config: TrialConfig,
        class_names: Sequence[str],
        device: torch.device,
        rule: DecisionRule | None = None,
        error_detection: ErrorDetection | None = None,
    ) -> None:
        # In evaluation mode, batch normalisation uses stored statistics: a score does not depend on the other images.
        self.model = model.to(device).eval()
        self.config = config
        self.class_names = tuple(class_names)
        self.rule = rule or default_rule(len(self.class_names))
        self.error_detection = error_detection
        self.device = device
        self._transform = EvalTransform(image_size=config.data.image_size)
        self._background = parse_colour(config.data.background)

    @property
    def takes_features(self) -> bool:
        """Whether the model takes a user's own features (embeddings) and not images."""
        return self.model.backbone is None

    @property
    def shows_uncertainty(self) -> bool:
        """Whether the columns have the uncertainty of the kernels; see `ErrorDetection.shows_uncertainty`."""
        return self.error_detection is not None and self.error_detection.shows_uncertainty

    @torch.no_grad()
    def predict(self, images: Sequence[bytes | np.ndarray]) -> Prediction:
        """Score N images, encoded (JPEG, PNG, …) or decoded (pixels_HW3, uint8); N may be 0.

        A model that `takes_features` scores features_D instead.

        Raises:
            DataError: an image cannot be decoded, or there are more or fewer features than the model takes; the message
                has its place in the sequence.
        """
        # An empty first part: without images there is nothing else to concatenate.
        scores = [np.empty((0, len(self.class_names)), dtype=np.float32)]
        uncertainties = list(scores)
        for start in range(0, len(images), BATCH_SIZE):
            batch = self.predict_pixels(self._prepare(images[start : start + BATCH_SIZE], start))
            scores.append(batch.scores_NK)
            if batch.uncertainties_NK is not None:
                uncertainties.append(batch.uncertainties_NK)
        trained = trains_kernels(self.config.loss)
        return Prediction(np.concatenate(scores), np.concatenate(uncertainties) if trained else None)

    @torch.no_grad()
    def predict_pixels(self, images_B3HW: torch.Tensor) -> Prediction:
        """Score one batch of prepared images, uint8 at the model's size, or of features."""
        _, mixture = self.model(images_B3HW.to(self.device, non_blocking=True))
        scores_NK = mixture.logits_BK.float().sigmoid().cpu().numpy()
        if not trains_kernels(self.config.loss):
            return Prediction(scores_NK, None)
        return Prediction(scores_NK, label_uncertainty(mixture).float().cpu().numpy())

    def _prepare(self, part: Sequence[bytes | np.ndarray], start: int) -> torch.Tensor:
        if not self.takes_features:
            return self._transform([_decode(data, start + n, self._background) for n, data in enumerate(part)])
        width = self.model.num_inputs
        for place, values_D in enumerate(part, start):
            if not isinstance(values_D, np.ndarray) or values_D.shape != (width,):
                got = f"shape {values_D.shape}" if isinstance(values_D, np.ndarray) else "an encoded image"
                raise DataError(f"row {place}: got {got}; valid: {width} features, because the model takes no images")
        return torch.from_numpy(np.stack([np.asarray(values_D, dtype=np.float32) for values_D in part]))

    def to_columns(self, prediction: Prediction, *, raw_scores: bool = False) -> dict[str, Any]:
        """The columns that users see, in the order of the signature.

        Args:
            prediction: of this model, N images.
            raw_scores: give scores before calibration; all other columns stay the same.
        """
        shown_NK = prediction.uncertainties_NK if self.shows_uncertainty else None
        return to_columns(self.class_names, self.rule, prediction.scores_NK, shown_NK, raw_scores=raw_scores)


def write_model(
    folder: Path, weights: Path, config: TrialConfig, class_names: Sequence[str], rule: DecisionRule | None = None
) -> None:
    """Write the folder that `read_predictor` reads.

    Args:
        folder: the new folder.
        weights: a safetensors file with the model's state.
        config: of the trial that trained the model.
        class_names: K names, in the order of the logits.
        rule: from scores to decisions. None: scores without calibration, and labels above 0.5.
    """
    folder.mkdir(parents=True)
    write_atomically(folder / WEIGHTS, weights.read_bytes())
    document = {
        "config": config.model_dump(),
        # The model can be loaded where there is no such file.
        "plugins": to_documents(config.plugins),
        "class_names": list(class_names),
        "decision": (rule or default_rule(len(class_names))).to_document(),
        "error_detection": None,
    }
    write_atomically(folder / DESCRIPTION, json.dumps(document, indent=1))


def write_rule(folder: Path, rule: DecisionRule, error_detection: ErrorDetection | None = None) -> None:
    """Replace the decision rule in a folder that `write_model` wrote, and what was measured with that rule.

    Args:
        folder: the model's.
        rule: the new one.
        error_detection: with the new rule. None: not measured.
    """
    document = json.loads((folder / DESCRIPTION).read_text()) | {
        "decision": rule.to_document(),
        "error_detection": error_detection.to_document() if error_detection else None,
    }
    write_atomically(folder / DESCRIPTION, json.dumps(document, indent=1))


def read_predictor(folder: Path, device: torch.device | None = None) -> Predictor:
    """Load a model.

    Args:
        folder: as `write_model` wrote it.
        device: where the model computes. None: a GPU if there is one, otherwise the CPU.

    Raises:
        RegistryError: the folder does not hold such a model.
    """
    try:
        document = json.loads((folder / DESCRIPTION).read_text())
        know_documents(document.get("plugins", []))
        config = TrialConfig.from_record(document["config"])
        class_names = document["class_names"]
        tensors = load_file(folder / WEIGHTS)
        # All weights come from the file. Pretrained ones may need a download or a file that is not here.
        width = None if config.data.features is None else _input_width(tensors)
        model = build_model(config, len(class_names), pretrained=False, num_features=width)
        model.load_state_dict(tensors)
        # Models of older versions have neither of these two entries.
        rule = read_rule(document.get("decision"), class_names)
        error_detection = read_error_detection(document.get("error_detection"))
    # A missing file, and JSON, a configuration or weights of another form, each have an error of their own.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise RegistryError(
            f"{folder}: got a folder that is not a model of this platform ({reason}); valid: a model that `kmcl "
            "promote` registered"
        ) from error
    chosen = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Predictor(model, config, class_names, chosen, rule, error_detection)


def _input_width(tensors: dict[str, torch.Tensor]) -> int:
    """The number of features that a model without a backbone takes: the inputs of its first layer."""
    for first in ("projection.0.weight", "reduction.weight", _LOGITS):
        if first in tensors:
            return int(tensors[first].shape[1])
    return int(tensors["head.num_inputs"])


def _decode(data: bytes | np.ndarray, place: int, background: Colour = WHITE) -> np.ndarray:
    if isinstance(data, np.ndarray):
        return data
    try:
        return decode_pixels(data, background=background)
    except UndecodableError as error:
        raise DataError(
            f"image {place}: cannot be decoded ({error}); valid: an encoded image, such as JPEG or PNG"
        ) from None
