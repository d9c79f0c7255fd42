"""A model as ONNX; the file is kept only if its scores are those of torch.

Legend of shapes: B batch, K classes, S image size in pixels.
"""

import importlib.util
import json
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kmcl_platform.errors import RegistryError
from kmcl_platform.files.atomic_write import atomic_file
from kmcl_platform.files.file_status import is_folder
from kmcl_platform.messages import show_path
from kmcl_platform.method.networks.ensemble import EnsembleModel
from kmcl_platform.method.networks.model import KmclModel
from kmcl_platform.registry.model.decision_rule import DecisionRule
from kmcl_platform.registry.model.load import RegisteredModel, check_takes_images
from kmcl_platform.registry.model.predictor import Predictor

PARITY = 1e-4
"""Largest difference of a score between onnxruntime and torch."""
INPUT, LOGITS, SCORES = "images", "logits", "scores"
METADATA = "kmcl"
"""Key of the file's metadata: JSON with class names, decision rule, error detection, image size, background of
transparent images, mean and std."""
_OPSET = 18
_BATCHES = (1, 5)
"""Batch sizes of the comparison. They differ from that of the trace: a size that became a constant is found."""


class _Exported(nn.Module):
    """The network without its kernels: images to logits and calibrated scores."""

    def __init__(self, model: KmclModel | EnsembleModel, rule: DecisionRule) -> None:
        super().__init__()
        self.model = model
        # Plain numbers, which become constants of the graph.
        self.temperature, self.shift = rule.temperature, rule.shift

    def forward(self, images_B3SS: Tensor) -> tuple[Tensor, Tensor]:
        _, mixture = self.model(images_B3SS)
        logits_BK = mixture.logits_BK.float()
        return logits_BK, (logits_BK / self.temperature + self.shift).sigmoid()


def export_onnx(model: RegisteredModel, out: Path) -> float:
    """Write a model as ONNX: `images` (B x 3 x S x S, float32, normalised) to `logits` and calibrated `scores` (B x K).

    Args:
        model: the one to write.
        out: the new file. A file of that name is replaced.

    Returns:
        The largest difference of a score between onnxruntime and torch.

    Raises:
        RegistryError: ONNX is not installed, the model cannot be exported, its scores differ from torch's, or the file
            cannot be written. Then `out` is as it was.
    """
    check_installed()
    check_takes_images(model)
    if not is_folder(out.parent):
        raise RegistryError(f"{show_path(out)}: got a folder that does not exist; valid: a file in an existing folder")
    predictor = model.predictor
    _check_one_normalisation(predictor)
    # A copy: the caller's model stays on its device and in its mode.
    network = _Exported(deepcopy(predictor.model), predictor.rule).cpu().eval()
    try:
        with atomic_file(out) as draft:
            _write(network, draft, predictor, _metadata(model))
            difference = _measure(network, draft, predictor.config.data.image_size)
            # Written with `not`, so that NaN is refused too.
            if not difference <= PARITY:
                raise RegistryError(
                    f"{show_path(out)}: got scores of onnxruntime that differ from torch's by {difference:.1e}, so no "
                    f"file was kept; valid: at most {PARITY:g}"
                )
    except OSError as error:
        raise RegistryError(
            f"{show_path(out)}: cannot be written ({error.strerror}); valid: a folder that this user can write to"
        ) from None
    return difference


def _check_one_normalisation(predictor: Predictor) -> None:
    if not isinstance(predictor.model, EnsembleModel):
        return
    # `check_takes_images` was called.
    backbones = [one.backbone for one in predictor.model.networks if one.backbone is not None]
    if len({(tuple(one.mean), tuple(one.std)) for one in backbones}) > 1:
        names = ", ".join(sorted({one.name for one in backbones}))
        raise RegistryError(
            f"model: got an ensemble of backbones ({names}) that normalise images in different ways, and a graph takes "
            "images that are normalised once; valid: a model of one trial, or an ensemble with one kind of backbone"
        )


def check_installed() -> None:
    """Look for the packages of the extra `onnx`.

    Raises:
        RegistryError: one of them is not installed.
    """
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise RegistryError(f"{', '.join(missing)}: not installed; valid: pip install 'kmcl-platform[onnx]'")


def _metadata(model: RegisteredModel) -> dict[str, Any]:
    predictor = model.predictor
    detection = predictor.error_detection
    backbone = predictor.model.backbone
    # `check_takes_images` was called.
    assert backbone is not None
    return {
        "model": model.uri,
        "class_names": list(predictor.class_names),
        **predictor.rule.to_document(),
        # The graph does not compute the entropy, because users can compute it from `scores`.
        "entropy": "-p log2 p - (1 - p) log2(1 - p) of a score p, in bits, in [0, 1]",
        "error_detection": detection.to_document() if detection else None,
        "image_size": predictor.config.data.image_size,
        "background": predictor.config.data.background,
        "mean": backbone.mean,
        "std": backbone.std,
    }


def _write(network: nn.Module, path: Path, predictor: Predictor, metadata: dict[str, Any]) -> None:
    import onnx

    size = predictor.config.data.image_size
    example_B3SS = torch.zeros(2, 3, size, size)  # Torch would treat a batch size of 1 as a constant.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # They are about the internals of the exporter.
            # Traced first, because torch.onnx may fall back silently to an exporter that fixes the batch size.
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
    except Exception as error:  # The exporter raises errors of many kinds; all mean the same to the user.
        reason = " ".join(str(error).split())[:300]
        raise RegistryError(
            f"model.backbone: got {predictor.config.model.backbone!r} with the head {predictor.config.model.head!r}, "
            f"which torch cannot export to ONNX ({reason}); valid: a model with another backbone or head"
        ) from error
    assert program is not None
    proto = program.model_proto
    proto.metadata_props.append(onnx.StringStringEntryProto(key=METADATA, value=json.dumps(metadata)))
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def _measure(network: nn.Module, path: Path, size: int) -> float:
    """The largest difference of a score, over batches of noise images in several sizes. NaN: a score was NaN."""
    import onnxruntime

    # On the CPU, like torch's scores here: a GPU may round differently.
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    differences = []
    for batch in _BATCHES:
        images_B3SS = torch.randn(batch, 3, size, size, generator=generator)
        with torch.no_grad():
            _, expected_BK = network(images_B3SS)
        (found_BK,) = session.run([SCORES], {INPUT: images_B3SS.numpy()})
        differences.append(np.abs(found_BK - expected_BK.numpy()).max())
    return float(np.max(differences))
