"""Checkpoints: a folder an epoch (`checkpoint_folder.py`), written whole or not at all."""

import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.store import NO_ROOM, no_room
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.scores_file import VALIDATION_SCORES, SplitScores, scores_to_bytes
from kmcl_platform.training.checkpoints.checkpoint_folder import AVERAGE, MODEL, OPTIMIZER, TRIAL


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
    folder: Path,
    state: TrialState,
    *,
    model: nn.Module,
    average: nn.Module,
    optimizer_state: dict[str, Any],
    scores: SplitScores | None = None,
) -> Path:
    """Write the checkpoint of `state.epoch`, then remove older ones.

    A process killed at any moment leaves either the former checkpoint or the new one; so does a disk that is full.

    Args:
        folder: the trial's own.
        state: what is known of the trial.
        model: its weights and buffers.
        average: their moving average.
        optimizer_state: tensors and plain values.
        scores: of the average on the validation split; none: the epoch ended without.

    Raises:
        StoreError: the disk is full.
    """
    for leftover in folder.glob(".writing-*"):
        shutil.rmtree(leftover)
    final = folder / f"epoch-{state.epoch:04d}"
    draft = folder / f".writing-{final.name}-{os.getpid()}"
    document = {
        "config": state.config.model_dump(),
        "class_names": list(state.class_names),
        "reports": [report.model_dump() for report in state.reports],
    }
    try:
        draft.mkdir(parents=True)
        # Written by Python, part by part: the libraries' own writers do not say that the disk is full.
        (draft / MODEL).write_bytes(save(_contiguous(model)))
        (draft / AVERAGE).write_bytes(save(_contiguous(average)))
        (draft / OPTIMIZER).write_bytes(_to_bytes(optimizer_state))
        if scores is not None:
            (draft / VALIDATION_SCORES).write_bytes(scores_to_bytes(scores))
        (draft / TRIAL).write_text(json.dumps(document, indent=1))
    except OSError as error:
        # Room for those who still have to write how it ended.
        shutil.rmtree(draft, ignore_errors=True)
        if error.errno in NO_ROOM:
            raise no_room(folder) from error
        raise
    former = [path for path in folder.glob("epoch-*") if path != final]
    if final.exists():
        shutil.rmtree(final)
    draft.rename(final)
    for path in former:
        shutil.rmtree(path)
    return final


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


def _to_bytes(state: dict[str, Any]) -> memoryview:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer()


def _contiguous(module: nn.Module) -> dict[str, torch.Tensor]:
    """A module's state in the plain memory layout, the only one that safetensors knows."""
    return {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
