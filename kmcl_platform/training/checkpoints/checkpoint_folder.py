"""The files of a checkpoint, without what is in them: light to import.

`epoch-0003/` holds `model.safetensors` (weights and buffers), `average.safetensors` (their moving average: the model
that is evaluated and registered), `optimizer.pt` (optimizer, schedule and gradient scaler; tensors and plain values
only), `val_scores.safetensors` (the average's scores on the validation split; data/scores_file.py) and `trial.json`
(configuration, class names, seed, the reports of all epochs so far). Random state needs no file: every epoch is seeded
by (seed, epoch, rank). Of a trial that has ended, the optimizer and the model beside the average are removed.
"""

from pathlib import Path

AVERAGE = "average.safetensors"
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.pt"
TRIAL = "trial.json"


def find_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a trial's folder, or none."""
    return max(folder.glob("epoch-*"), default=None)


def keep_average(checkpoint: Path) -> None:
    """Reduce the checkpoint of a trial that will not go on to its averaged weights and its `trial.json`."""
    for name in (OPTIMIZER, MODEL):
        (checkpoint / name).unlink(missing_ok=True)


def folder_bytes(folder: Path) -> int:
    """The size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
