"""Predictor: a trained model in use, from inputs to the scores and uncertainties of labels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from kmcl_platform.config.loss_config import LossConfig
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.loading.decode import UndecodableError, decode_pixels
from kmcl_platform.data.loading.to_rgb import WHITE, Colour, parse_colour
from kmcl_platform.data.loading.transforms import EvalTransform
from kmcl_platform.errors import DataError
from kmcl_platform.method.kernels.uncertainty import label_uncertainty
from kmcl_platform.method.networks.ensemble import EnsembleModel
from kmcl_platform.method.networks.model import KmclModel
from kmcl_platform.registry.model.decision_rule import DecisionRule, default_rule
from kmcl_platform.registry.model.error_detection import ErrorDetection
from kmcl_platform.registry.model.prediction_table import to_columns

BATCH_SIZE = 64
"""Images in one forward pass."""


class Prediction(NamedTuple):
    """A model's scores of N images and K classes.

    Attributes:
        scores_NK: float32 probabilities in [0, 1], before calibration.
        uncertainties_NK: float32 uncertainties of the kernels, in [0, 1). None: the kernels were not trained, or the
            model is an ensemble.
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
        config: of the trial that trained it; of an ensemble, that of its first member.
        class_names: K names, in the order of the scores.
        rule: from scores to decisions.
        error_detection: what promotion measured about finding wrong decisions. None: not measured.
        device: where it computes.
    """

    def __init__(
        self,
        model: KmclModel | EnsembleModel,
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
    def has_uncertainty(self) -> bool:
        """Whether it has one network, whose kernels were trained."""
        return not isinstance(self.model, EnsembleModel) and trains_kernels(self.config.loss)

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
        return Prediction(np.concatenate(scores), np.concatenate(uncertainties) if self.has_uncertainty else None)

    @torch.no_grad()
    def predict_pixels(self, images_B3HW: torch.Tensor) -> Prediction:
        """Score one batch of prepared images, uint8 at the model's size, or of features."""
        _, mixture = self.model(images_B3HW.to(self.device, non_blocking=True))
        scores_NK = mixture.logits_BK.float().sigmoid().cpu().numpy()
        if not self.has_uncertainty:
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


def _decode(data: bytes | np.ndarray, place: int, background: Colour = WHITE) -> np.ndarray:
    if isinstance(data, np.ndarray):
        return data
    try:
        return decode_pixels(data, background=background)
    except UndecodableError as error:
        raise DataError(
            f"image {place}: cannot be decoded ({error}); valid: an encoded image, such as JPEG or PNG"
        ) from None
