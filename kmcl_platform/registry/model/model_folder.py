"""A trained model as a folder of two files.

The folder holds `model.safetensors` (weights) and `model.json` (the trial's configuration, the class names, the
decision rule and what was measured about finding wrong decisions). No file in it can run code. An ensemble is one such
folder too: its weights have the prefix `members.PLACE.`, and its configurations are `config` and then `others`.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import RegistryError
from kmcl_platform.files.atomic_write import write_atomically
from kmcl_platform.method.networks.ensemble import EnsembleModel
from kmcl_platform.method.networks.model import KmclModel
from kmcl_platform.plugins.source import know_documents, to_documents
from kmcl_platform.registry.model.decision_rule import DecisionRule, default_rule, read_rule
from kmcl_platform.registry.model.error_detection import ErrorDetection, read_error_detection
from kmcl_platform.registry.model.predictor import Predictor
from kmcl_platform.registry.model.schema import DESCRIPTION, WEIGHTS
from kmcl_platform.training.build import build_model

_LOGITS = "head.logit_layer.weight"


def write_model(
    folder: Path,
    weights: Path,
    config: TrialConfig,
    class_names: Sequence[str],
    rule: DecisionRule | None = None,
    *,
    others: Sequence[tuple[Path, TrialConfig]] = (),
) -> None:
    """Write the folder that `read_predictor` reads.

    Args:
        folder: the new folder.
        weights: a safetensors file with the model's state.
        config: of the trial that trained the model.
        class_names: K names, in the order of the logits.
        rule: from scores to decisions. None: scores without calibration, and labels above 0.5.
        others: weights and configuration of further members. The model is then the ensemble of all. They have the same
            inputs, classes and plug-ins.
    """
    folder.mkdir(parents=True)
    if others:
        save_file(dict(_joined([weights, *(path for path, _ in others)])), folder / WEIGHTS)
    else:
        write_atomically(folder / WEIGHTS, weights.read_bytes())
    document = {
        "config": config.model_dump(),
        "others": [one.model_dump() for _, one in others],
        # The model can be loaded where there is no such file.
        "plugins": to_documents(config.plugins),
        "class_names": list(class_names),
        "decision": (rule or default_rule(len(class_names))).to_document(),
        "error_detection": None,
    }
    write_atomically(folder / DESCRIPTION, json.dumps(document, indent=1))


def _joined(files: Sequence[Path]) -> Iterator[tuple[str, torch.Tensor]]:
    for place, file in enumerate(files):
        for name, tensor in load_file(file).items():
            yield f"members.{place}.{name}", tensor


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
        # Models of older versions have none of `others`, `decision` and `error_detection`.
        first, *others = (TrialConfig.from_record(one) for one in (document["config"], *document.get("others", [])))
        class_names = document["class_names"]
        model = _build([first, *others], class_names, load_file(folder / WEIGHTS))
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
    return Predictor(model, first, class_names, chosen, rule, error_detection)


def _build(
    configs: Sequence[TrialConfig], class_names: Sequence[str], tensors: dict[str, torch.Tensor]
) -> KmclModel | EnsembleModel:
    """The network of one configuration, or the ensemble of several, with these weights."""
    members = []
    for place, config in enumerate(configs):
        prefix = f"members.{place}." if len(configs) > 1 else ""
        width = None if config.data.features is None else _input_width(tensors, prefix)
        # All weights come from the file. Pretrained ones may need a download or a file that is not here.
        members.append(build_model(config, len(class_names), pretrained=False, num_features=width))
    model = members[0] if len(members) == 1 else EnsembleModel(members)
    model.load_state_dict(tensors)
    return model


def _input_width(tensors: dict[str, Any], prefix: str) -> int:
    """The number of features that a model without a backbone takes: the inputs of its first layer."""
    for first in ("projection.0.weight", "reduction.weight", _LOGITS):
        if prefix + first in tensors:
            return int(tensors[prefix + first].shape[1])
    return int(tensors[f"{prefix}head.num_inputs"])
