"""Predictor: a trained model as it is used, from a folder of two files to labels with probabilities.

The folder holds `model.safetensors` (weights) and `model.json` (the trial's configuration and the class names). No file
in it can run code.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.torch import load_file

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.transforms import EvalTransform
from kmcl_platform.errors import DataError, RegistryError
from kmcl_platform.method.model import KmclModel
from kmcl_platform.training.build import build_model

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
BATCH_SIZE = 64
"""Images per forward pass."""


class Predictor:
    """A model with its images' preparation and its class names."""

    def __init__(self, model: KmclModel, config: TrialConfig, class_names: Sequence[str], device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.config = config
        self.class_names = tuple(class_names)
        self._device = device
        backbone = model.backbone
        self._transform = EvalTransform(image_size=config.data.image_size, mean=backbone.mean, std=backbone.std)

    @torch.no_grad()
    def scores(self, images: Sequence[bytes]) -> np.ndarray:
        """Score encoded images (JPEG, PNG, …).

        Returns:
            (N, K) float32 probabilities in [0, 1].

        Raises:
            DataError: an image cannot be decoded; names its place in the sequence.
        """
        rows = [np.empty((0, len(self.class_names)), dtype=np.float32)]
        for start in range(0, len(images), BATCH_SIZE):
            decoded = [_decode(data, start + place) for place, data in enumerate(images[start : start + BATCH_SIZE])]
            _, mixture = self.model(self._transform(decoded).to(self._device))
            rows.append(mixture.logits_BK.float().sigmoid().cpu().numpy())
        return np.concatenate(rows)


def write_model(folder: Path, weights: Path, config: TrialConfig, class_names: Sequence[str]) -> None:
    """Write the folder that `read_predictor` reads.

    Args:
        folder: where to; created.
        weights: a safetensors file with the model's state.
        config: the trial that made it.
        class_names: K names, in the order of the logits.
    """
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(weights.read_bytes())
    document = {"config": config.model_dump(), "class_names": list(class_names)}
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
        # The weights come from the file: fetching published ones first would be work for nothing.
        network = config.model.model_copy(update={"pretrained": False})
        model = build_model(network, len(document["class_names"]))
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise RegistryError(f"{folder}: not a model of this platform: {' '.join(str(error).split())}") from error
    chosen = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Predictor(model, config, document["class_names"], chosen)


def _decode(data: bytes, place: int) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(
            f"image {place}: cannot be decoded ({error}); valid: an encoded image, such as JPEG or PNG"
        ) from None
    return image
