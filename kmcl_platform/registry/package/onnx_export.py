"""A model as ONNX, proven against torch before the file is kept.

Legend of shapes: B batch, K classes, S image size in pixels.
"""

import importlib.util
import json
import os
import secrets
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kmcl_platform.errors import RegistryError
from kmcl_platform.method.networks.model import KmclModel
from kmcl_platform.registry.model.decision_rule import DecisionRule
from kmcl_platform.registry.model.load import RegisteredModel
from kmcl_platform.registry.model.predictor import Predictor

PARITY = 1e-4
"""Largest difference of a score between onnxruntime and torch."""
INPUT, LOGITS, SCORES = "images", "logits", "scores"
METADATA = "kmcl"
"""Key of the file's metadata: JSON with class names, rule of decision, image size, background of transparent images,
mean and std."""
_OPSET = 18
_BATCHES = (1, 5)


class _Exported(nn.Module):
    """Images to logits and calibrated scores, and nothing else."""

    def __init__(self, model: KmclModel, rule: DecisionRule) -> None:
        super().__init__()
        self.model = model
        self.temperature, self.shift = rule.temperature, rule.shift

    def forward(self, images_B3SS: Tensor) -> tuple[Tensor, Tensor]:
        _, mixture = self.model(images_B3SS)
        logits_BK = mixture.logits_BK.float()
        return logits_BK, (logits_BK / self.temperature + self.shift).sigmoid()


def export_onnx(model: RegisteredModel, out: Path) -> float:
    """Write a model as ONNX: `images` (B x 3 x S x S, float32, normalised) to `logits` and calibrated `scores` (B x K).

    Args:
        model: to be written.
        out: the file; replaced where it exists.

    Returns:
        The largest difference of a score between onnxruntime and torch.

    Raises:
        RegistryError: ONNX is not installed, the model cannot be exported, its scores are others than torch's, or the
            file cannot be written. Nothing is left then.
    """
    check_installed()
    if not out.parent.is_dir():
        raise RegistryError(f"{out}: no such folder; valid: a file in a folder that exists")
    predictor = model.predictor
    network = _Exported(predictor.model, predictor.rule).cpu().eval()
    draft = out.with_name(f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        _write(network, draft, predictor, _metadata(model))
        difference = _measure(network, draft, predictor.config.data.image_size)
        # Not a number is no value that passes.
        if not difference <= PARITY:
            raise RegistryError(
                f"{out}: scores of onnxruntime differ from torch's by {difference:.1e}, so no file was kept; valid: at "
                f"most {PARITY:g}"
            )
        draft.replace(out)
    except OSError as error:
        raise RegistryError(f"{out}: cannot be written: {error.strerror}; valid: a folder that can be") from None
    finally:
        draft.unlink(missing_ok=True)
    return difference


def check_installed() -> None:
    """
    Raises:
        RegistryError: what the export needs is not installed.
    """
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise RegistryError(f"{', '.join(missing)}: not installed; valid: pip install 'kmcl-platform[onnx]'")


def _metadata(model: RegisteredModel) -> dict[str, Any]:
    predictor = model.predictor
    return {
        "model": model.uri,
        "class_names": list(predictor.class_names),
        **predictor.rule.to_document(),
        "image_size": predictor.config.data.image_size,
        "background": predictor.config.data.background,
        "mean": predictor.model.backbone.mean,
        "std": predictor.model.backbone.std,
    }


def _write(network: nn.Module, path: Path, predictor: Predictor, metadata: dict[str, Any]) -> None:
    import onnx

    size = predictor.config.data.image_size
    example_B3SS = torch.zeros(2, 3, size, size)  # a batch of 1 would be taken for a constant
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own workings
            # Traced first and by itself: what torch.onnx would fall back to fixes the batch size, and says nothing.
            shapes = ({0: torch.export.Dim("batch")},)
            traced = torch.export.export(network, (example_B3SS,), dynamic_shapes=shapes)
            program = torch.onnx.export(
                traced,
                dynamo=True,
                input_names=[INPUT],
                output_names=[LOGITS, SCORES],
                opset_version=_OPSET,
                verbose=False,
            )
    except Exception as error:  # The exporter has errors of many kinds; all mean the same to the user.
        reason = " ".join(str(error).split())[:300]
        raise RegistryError(
            f"model: {predictor.config.model.backbone} cannot be exported to ONNX: {reason}; valid: another backbone"
        ) from error
    assert program is not None
    proto = program.model_proto
    proto.metadata_props.append(onnx.StringStringEntryProto(key=METADATA, value=json.dumps(metadata)))
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def _measure(network: nn.Module, path: Path, size: int) -> float:
    """The largest difference of a score, over batches of several sizes of images of noise."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    differences = []
    for batch in _BATCHES:
        images_B3SS = torch.randn(batch, 3, size, size, generator=generator)
        with torch.no_grad():
            _, expected_BK = network(images_B3SS)
        (found_BK,) = session.run([SCORES], {INPUT: images_B3SS.numpy()})
        differences.append(np.abs(found_BK - expected_BK.numpy()).max())
    return float(np.max(differences))  # not a number, if any is not
