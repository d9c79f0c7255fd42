"""Checkpoints: a folder an epoch, written whole or not at all.

`epoch-0003/` holds `model.safetensors` (weights and buffers), `average.safetensors` (their moving average: the model
that is evaluated and registered), `optimizer.pt` (optimizer, schedule and gradient scaler; tensors and plain values
only) and `trial.json` (configuration, class names, seed, the reports of all epochs so far). Random state needs no file:
every epoch is seeded by (seed, epoch, rank).
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from kmcl_platform.config.epoch_report import EpochReport
from kmcl_platform.config.trial_config import TrialConfig

AVERAGE = "average.safetensors"
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.pt"
TRIAL = "trial.json"


@dataclass(frozen=True)
class TrialState:
    """What is known of a trial at a checkpoint, beside its tensors."""

    config: TrialConfig
    class_names: tuple[str, ...]
    reports: tuple[EpochReport, ...]

    @property
    def epoch(self) -> int:
        """The last finished epoch."""
        return len(self.reports)


def write_checkpoint(
    folder: Path, state: TrialState, *, model: nn.Module, average: nn.Module, optimizer_state: dict[str, Any]
) -> Path:
    """Write the checkpoint of `state.epoch`, then remove older ones.

    A process killed at any moment leaves either the former checkpoint or the new one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".writing-*"):
        shutil.rmtree(leftover)
    final = folder / f"epoch-{state.epoch:04d}"
    draft = folder / f".writing-{final.name}-{os.getpid()}"
    draft.mkdir()
    save_file(_contiguous(model), draft / MODEL)
    save_file(_contiguous(average), draft / AVERAGE)
    torch.save(optimizer_state, draft / OPTIMIZER)
    document = {
        "config": state.config.model_dump(),
        "class_names": list(state.class_names),
        "reports": [report.model_dump() for report in state.reports],
    }
    (draft / TRIAL).write_text(json.dumps(document, indent=1))
    former = [path for path in folder.glob("epoch-*") if path != final]
    if final.exists():
        shutil.rmtree(final)
    draft.rename(final)
    for path in former:
        shutil.rmtree(path)
    return final


def keep_average(checkpoint: Path) -> None:
    """Reduce the checkpoint of a trial that will not go on to its averaged weights and its `trial.json`."""
    for name in (OPTIMIZER, MODEL):
        (checkpoint / name).unlink(missing_ok=True)


def find_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a trial's folder, or none."""
    return max(folder.glob("epoch-*"), default=None)


def read_state(checkpoint: Path) -> TrialState:
    """Read what is known of the trial at a checkpoint."""
    document = json.loads((checkpoint / TRIAL).read_text())
    return TrialState(
        config=TrialConfig.model_validate(document["config"]),
        class_names=tuple(document["class_names"]),
        reports=tuple(EpochReport.model_validate(report) for report in document["reports"]),
    )


def load_weights(checkpoint: Path, *, model: nn.Module, average: nn.Module) -> None:
    """Overwrite both models with a checkpoint's weights."""
    model.load_state_dict(load_file(checkpoint / MODEL))
    average.load_state_dict(load_file(checkpoint / AVERAGE))


def read_optimizer_state(checkpoint: Path, device: torch.device) -> dict[str, Any]:
    """Read the optimizer's part of a checkpoint; no code in the file is run."""
    state: dict[str, Any] = torch.load(checkpoint / OPTIMIZER, map_location=device, weights_only=True)
    return state


def _contiguous(module: nn.Module) -> dict[str, torch.Tensor]:
    """A module's state in the plain memory layout, the only one that safetensors knows."""
    return {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
