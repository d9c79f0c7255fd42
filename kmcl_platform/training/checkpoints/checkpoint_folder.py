"""The names of a checkpoint's files. This module does not import torch.

A trial's folder has one folder for each checkpoint, such as `epoch-0003/`, with these files:

- `model.safetensors`: weights and buffers.
- `average.safetensors`: their moving average, the model that is evaluated and registered.
- `optimizer.pt`: optimizer, schedule and gradient scaler; tensors and plain values only.
- `val_scores.safetensors`: the average's scores on the validation split (data/scores_file.py).
- `trial.json`: configuration, class names, and the reports of all epochs until then.

Random state needs no file, because every epoch is seeded by (seed, epoch, rank). When a trial has ended, `optimizer.pt`
and `model.safetensors` are removed.

While an epoch of many minutes runs, there may also be a folder such as `part-0004-000250/`: the state after step 250 of
epoch 4. It has `part.pt` (`epoch_part.py`) in place of the scores. It is removed when the epoch has ended.
"""

import re
import shutil
from pathlib import Path

AVERAGE = "average.safetensors"
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.pt"
TRIAL = "trial.json"

_NAME = re.compile(r"epoch-(\d+)")
_PART = re.compile(r"part-(\d+)-(\d+)")


def checkpoint_name(epoch: int) -> str:
    """The name of an epoch's checkpoint."""
    return f"epoch-{epoch:04d}"


def checkpoint_epoch(checkpoint: Path) -> int | None:
    """The epoch of a checkpoint. None: the path is not one of a checkpoint.

    >>> checkpoint_epoch(Path("trial-0001/epoch-0012")), checkpoint_epoch(Path("epoch-x"))
    (12, None)
    """
    match = _NAME.fullmatch(checkpoint.name)
    return int(match[1]) if match else None


def find_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a trial's folder, from the earliest epoch to the latest."""
    found = [(epoch, path) for path in folder.glob("epoch-*") if (epoch := checkpoint_epoch(path)) is not None]
    # By number: as text, `epoch-9999` comes after `epoch-10000`.
    return [path for _, path in sorted(found)]


def find_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint in a trial's folder. None: the folder has none."""
    return next(reversed(find_checkpoints(folder)), None)


def part_name(epoch: int, step: int) -> str:
    """The name of the checkpoint after a step of an epoch, both from 1."""
    return f"part-{epoch:04d}-{step:06d}"


def find_parts(folder: Path) -> list[tuple[int, int, Path]]:
    """The checkpoints within epochs in a trial's folder: epoch, step and path, the latest last."""
    matches = [(_PART.fullmatch(path.name), path) for path in folder.glob("part-*")]
    return sorted((int(match[1]), int(match[2]), path) for match, path in matches if match)


def find_continuation(folder: Path) -> Path | None:
    """The checkpoint from which a trial continues: the latest one, of a whole epoch or within the one after it."""
    checkpoint = find_checkpoint(folder)
    epochs = (checkpoint_epoch(checkpoint) or 0) if checkpoint else 0
    # A part of an earlier epoch is what a killed process has not removed yet.
    parts = [path for epoch, _, path in find_parts(folder) if epoch == epochs + 1]
    return parts[-1] if parts else checkpoint


def keep_average(checkpoint: Path) -> None:
    """Reduce the checkpoint of a trial that has ended to its averaged weights, its scores and its `trial.json`."""
    # The successor of a killed driver removes the same files again, so a file may be missing already.
    for name in (OPTIMIZER, MODEL):
        (checkpoint / name).unlink(missing_ok=True)
    for _, _, part in find_parts(checkpoint.parent):
        shutil.rmtree(part, ignore_errors=not part.exists())


def folder_bytes(folder: Path) -> int:
    """The size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
