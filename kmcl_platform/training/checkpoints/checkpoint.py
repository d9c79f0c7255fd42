"""Checkpoints: one folder for each epoch (`checkpoint_folder.py`), which is complete or does not exist."""

import errno
import io
import json
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from kmcl_platform.config.base import describe_error
from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.store import NO_ROOM, no_room
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.scores_file import VALIDATION_SCORES, SplitScores, scores_to_bytes
from kmcl_platform.errors import CheckpointError
from kmcl_platform.files.atomic_write import DRAFT_PREFIX, atomic_folder
from kmcl_platform.training.checkpoints.checkpoint_folder import (
    AVERAGE,
    MODEL,
    OPTIMIZER,
    TRIAL,
    checkpoint_epoch,
    checkpoint_name,
    find_checkpoints,
    find_parts,
    part_name,
)
from kmcl_platform.training.checkpoints.epoch_part import PART, EpochPart

logger = logging.getLogger(__name__)

ADVICE = "valid: move this folder away, and the trial begins again with its first epoch"
"""The end of every error about a checkpoint."""


@dataclass(frozen=True)
class TrialProgress:
    """The part of a checkpoint that describes its trial, without the tensors.

    Attributes:
        config: the trial's configuration.
        class_names: names of the K classes, in the order of the targets.
        reports: one for each finished epoch, in order.
        backbone: digest of a frozen backbone's weights. Empty: the backbone is trained, so the checkpoint has them.
        features: digest of the user's own file of features. Empty: the trial does not use one.
    """

    config: TrialConfig
    class_names: tuple[str, ...]
    reports: tuple[EpochReport, ...]
    backbone: str = ""
    features: str = ""

    @property
    def epoch(self) -> int:
        """The last finished epoch."""
        return len(self.reports)


def write_checkpoint(
    folder: Path,
    progress: TrialProgress,
    *,
    model: nn.Module,
    average: nn.Module,
    optimizer_state: dict[str, Any],
    scores: SplitScores | None = None,
    part: EpochPart | None = None,
) -> Path:
    """Write the checkpoint of `progress.epoch`, or of a part of the epoch after it, then remove earlier ones.

    After the first call, at least one complete checkpoint is always on the disk: earlier ones are removed only when the
    files of the new one and its name are on the disk. This is also true if the process is killed, the disk is full, or
    the machine loses power. If the folder already has a checkpoint of this epoch, it stays as it is: a folder of that
    name is always complete, and another group of workers computes the same numbers.

    Args:
        folder: the trial's own folder.
        progress: configuration, class names and reports.
        model: its weights and buffers.
        average: their moving average.
        optimizer_state: tensors and plain values.
        scores: scores of the average on the validation split. None: the epoch had no evaluation.
        part: the state within the epoch after `progress.epoch`. Its checkpoint does not replace that of an epoch.

    Returns:
        The checkpoint's folder.

    Raises:
        StoreError: the disk is full.
    """
    started = time.monotonic()
    # A process that was killed while it wrote has left its draft, which nothing reads.
    for leftover in folder.glob(f"{DRAFT_PREFIX}*"):
        shutil.rmtree(leftover)
    document = {
        "config": progress.config.model_dump(),
        "class_names": list(progress.class_names),
        "reports": [report.model_dump() for report in progress.reports],
        "backbone": progress.backbone,
        "features": progress.features,
    }
    name = part_name(progress.epoch + 1, part.step) if part else checkpoint_name(progress.epoch)
    final = folder / name
    try:
        with atomic_folder(final) as draft:
            # Python writes the bytes, because the libraries' own functions do not report a full disk.
            (draft / MODEL).write_bytes(save(_contiguous(model)))
            (draft / AVERAGE).write_bytes(save(_contiguous(average)))
            (draft / OPTIMIZER).write_bytes(_to_bytes(optimizer_state))
            if scores is not None:
                (draft / VALIDATION_SCORES).write_bytes(scores_to_bytes(scores))
            if part is not None:
                (draft / PART).write_bytes(_to_bytes(part.state()))
            (draft / TRIAL).write_text(json.dumps(document, indent=1))
    except OSError as error:
        if error.errno in NO_ROOM:
            raise no_room(folder) from error
        # The errors of a rename to a folder that has files.
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or not final.is_dir():
            raise
        logger.warning("%s exists already: it stays as it is", final)
    # Later ones are of a group that has replaced this one.
    for path in find_checkpoints(folder):
        if (checkpoint_epoch(path) or 0) < progress.epoch:
            shutil.rmtree(path)
    for epoch, step, path in find_parts(folder):
        if (epoch, step) < (progress.epoch + 1, part.step if part else 0):
            shutil.rmtree(path)
    logger.info("wrote %s in %.2f s", final, time.monotonic() - started)
    return final


def read_progress(checkpoint: Path) -> TrialProgress:
    """Read the description of a checkpoint's trial.

    Raises:
        CheckpointError: the file is missing, damaged, or of another version of this package.
    """
    path = checkpoint / TRIAL
    try:
        document = json.loads(path.read_text())
        return TrialProgress(
            config=TrialConfig.from_record(document["config"]),
            class_names=tuple(document["class_names"]),
            reports=tuple(EpochReport.model_validate(report) for report in document["reports"]),
            # Checkpoints of older versions have neither of these two.
            backbone=str(document.get("backbone", "")),
            features=str(document.get("features", "")),
        )
    # Before ValueError, of which pydantic's error is a kind.
    except ValidationError as error:
        problem = describe_error(error, TrialConfig if error.title == "TrialConfig" else EpochReport)
    except KeyError as error:
        problem = f"{error} is missing"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except (TypeError, ValueError) as error:
        problem = f"cannot be read ({error})"
    raise CheckpointError(f"{path}: {problem}; {ADVICE}")


def load_weights(checkpoint: Path, *, model: nn.Module, average: nn.Module) -> None:
    """Overwrite both models with a checkpoint's weights. Raises CheckpointError if a file is damaged."""
    for name, module in ((MODEL, model), (AVERAGE, average)):
        with _reading(checkpoint / name):
            tensors = load_file(checkpoint / name)
        module.load_state_dict(tensors)


def read_optimizer_state(checkpoint: Path, device: torch.device) -> dict[str, Any]:
    """Read the optimizer's part of a checkpoint, as `load_weights`. Code in the file is not run."""
    with _reading(checkpoint / OPTIMIZER):
        state: dict[str, Any] = torch.load(checkpoint / OPTIMIZER, map_location=device, weights_only=True)
    return state


def read_part(checkpoint: Path) -> EpochPart | None:
    """The part of an epoch in a checkpoint, as `load_weights`. None: the checkpoint is that of a whole epoch."""
    path = checkpoint / PART
    if not path.exists():
        return None
    with _reading(path):
        return EpochPart(**torch.load(path, map_location="cpu", weights_only=True))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name a damaged file. As an error of a library it would end the trial as failed, and its work would be lost."""
    try:
        yield
    # A file that fits into memory on the CPU may not fit on a GPU: it is not damaged.
    except torch.OutOfMemoryError:
        raise
    except (SafetensorError, UnpicklingError, EOFError, RuntimeError, KeyError, TypeError, ValueError) as error:
        # PyTorch's messages continue with advice of many lines.
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: cannot be read ({reason}); {ADVICE}") from error


def _to_bytes(state: dict[str, Any]) -> memoryview:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    # A view of the bytes: `getvalue` would copy them.
    return buffer.getbuffer()


def _contiguous(module: nn.Module) -> dict[str, torch.Tensor]:
    """A module's state in the plain memory layout; safetensors accepts no other."""
    return {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
