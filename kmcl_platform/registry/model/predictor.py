"""Predictor: a trained model as it is used: from a folder of two files to probabilities and uncertainties of labels.

The folder holds `model.safetensors` (weights) and `model.json` (the trial's configuration, the class names and the rule
of decision). No file in it can run code.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from kmcl_platform.config.trial_config import LossConfig, TrialConfig
from kmcl_platform.data.loading.decode import UndecodableError, decode_pixels
from kmcl_platform.data.loading.to_rgb import WHITE, Colour, parse_colour
from kmcl_platform.data.loading.transforms import EvalTransform
from kmcl_platform.errors import DataError, RegistryError
from kmcl_platform.method.kernels.uncertainty import label_uncertainty
from kmcl_platform.method.networks.model import KmclModel
from kmcl_platform.registry.model.decision_rule import DecisionRule, default_rule, read_rule
from kmcl_platform.registry.model.schema import DESCRIPTION, WEIGHTS
from kmcl_platform.training.build import build_model

BATCH_SIZE = 64
"""Images per forward pass."""


class Prediction(NamedTuple):
    """What a model says of N images and K classes.

    Attributes:
        scores_NK: float32 probabilities in [0, 1], raw: before calibration.
        uncertainties_NK: float32, in [0, 1); none for a model whose kernels were not trained.
    """

    scores_NK: np.ndarray
    uncertainties_NK: np.ndarray | None


def has_uncertainties(config: LossConfig) -> bool:
    """Whether the objective trains the kernels, so that their variances mean something."""
    return config.objective == "kmcl" and config.reconstruction_weight + config.contrastive_weight > 0


class Predictor:
    """A model with its images' preparation, its class names and its rule of decision."""

    def __init__(
        self,
        model: KmclModel,
        config: TrialConfig,
        class_names: Sequence[str],
        device: torch.device,
        rule: DecisionRule | None = None,
    ) -> None:
        self.model = model.to(device).eval()
        self.config = config
        self.class_names = tuple(class_names)
        self.rule = rule or default_rule(len(self.class_names))
        self._device = device
        self._transform = EvalTransform(image_size=config.data.image_size)
        self._background = parse_colour(config.data.background)

    @torch.no_grad()
    def predict(self, images: Sequence[bytes | np.ndarray]) -> Prediction:
        """Score images, encoded (JPEG, PNG, …) or decoded (pixels_HW3, uint8), and say how uncertain each score is.

        Raises:
            DataError: an image cannot be decoded; names its place in the sequence.
        """
        # Begun with no rows, for a sequence without images.
        scores = [np.empty((0, len(self.class_names)), dtype=np.float32)]
        uncertainties = list(scores)
        for start in range(0, len(images), BATCH_SIZE):
            part = images[start : start + BATCH_SIZE]
            decoded = [_decode(data, start + place, self._background) for place, data in enumerate(part)]
            batch = self.predict_pixels(self._transform(decoded))
            scores.append(batch.scores_NK)
            if batch.uncertainties_NK is not None:
                uncertainties.append(batch.uncertainties_NK)
        known = has_uncertainties(self.config.loss)
        return Prediction(np.concatenate(scores), np.concatenate(uncertainties) if known else None)

    @torch.no_grad()
    def predict_pixels(self, images_B3HW: torch.Tensor) -> Prediction:
        """Score one batch of prepared images, uint8 at the model's size."""
        _, mixture = self.model(images_B3HW.to(self._device, non_blocking=True))
        scores_NK = mixture.logits_BK.float().sigmoid().cpu().numpy()
        if not has_uncertainties(self.config.loss):
            return Prediction(scores_NK, None)
        return Prediction(scores_NK, label_uncertainty(mixture).float().cpu().numpy())

    def scores(self, images: Sequence[bytes]) -> np.ndarray:
        """The scores alone: what models that were registered before there were uncertainties ask for."""
        return self.predict(images).scores_NK


def write_model(
    folder: Path, weights: Path, config: TrialConfig, class_names: Sequence[str], rule: DecisionRule | None = None
) -> None:
    """Write the folder that `read_predictor` reads.

    Args:
        folder: where to; created.
        weights: a safetensors file with the model's state.
        config: the trial that made it.
        class_names: K names, in the order of the logits.
        rule: of decision; none: raw scores, and labels above 0.5.
    """
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(weights.read_bytes())
    document = {
        "config": config.model_dump(),
        "class_names": list(class_names),
        "decision": (rule or default_rule(len(class_names))).to_document(),
    }
    (folder / DESCRIPTION).write_text(json.dumps(document, indent=1))


def write_rule(folder: Path, rule: DecisionRule) -> None:
    """Put another rule of decision into a folder that `write_model` wrote."""
    document = json.loads((folder / DESCRIPTION).read_text()) | {"decision": rule.to_document()}
    (folder / DESCRIPTION).write_text(json.dumps(document, indent=1))


def read_predictor(folder: Path, device: torch.device | None = None) -> Predictor:
    """Load a model.

    Args:
        folder: as `write_model` wrote it.
        device: where it computes; none: a GPU if there is one, else the CPU.

    Raises:
        RegistryError: the folder does not hold a model of this kind.
    """
    try:
        document = json.loads((folder / DESCRIPTION).read_text())
        config = TrialConfig.model_validate(document["config"])
        model = build_model(config.model, len(document["class_names"]), pretrained=False)
        model.load_state_dict(load_file(folder / WEIGHTS))
        rule = read_rule(document.get("decision"), document["class_names"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise RegistryError(f"{folder}: not a model of this platform: {' '.join(str(error).split())}") from error
    chosen = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Predictor(model, config, document["class_names"], chosen, rule)


def _decode(data: bytes | np.ndarray, place: int, background: Colour = WHITE) -> np.ndarray:
    if isinstance(data, np.ndarray):
        return data
    try:
        return decode_pixels(data, background=background)
    except UndecodableError as error:
        raise DataError(
            f"image {place}: cannot be decoded ({error}); valid: an encoded image, such as JPEG or PNG"
        ) from None
