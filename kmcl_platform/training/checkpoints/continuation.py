"""Whether a trial may continue from a checkpoint: it must be the same trial, on the same data."""

from itertools import zip_longest
from pathlib import Path

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import CheckpointError
from kmcl_platform.messages import show_value
from kmcl_platform.training.checkpoints.checkpoint import ADVICE, TrialProgress
from kmcl_platform.training.checkpoints.checkpoint_folder import AVERAGE, MODEL, OPTIMIZER


def check_can_continue(
    checkpoint: Path, progress: TrialProgress, config: TrialConfig, class_names: tuple[str, ...]
) -> None:
    """Check that a trial may continue from a checkpoint.

    Every value of the configuration may change what a trial computes. A search continues a trial with exactly the
    configuration with which the trial began, so no value may differ.

    Raises:
        CheckpointError: a value or the class names differ; the message names the first difference. Or only the averaged
            weights are left, because the checkpoint's trial has ended.
    """
    folder = checkpoint.parent
    # A field that is newer than the checkpoint got its default when the file was read. Options and plug-ins have paths
    # only in trials that use them.
    before, now = progress.config.flat(), config.flat()
    for path in now | before:
        there, here = (show_value(found[path]) if path in found else "nothing" for found in (before, now))
        if there != here:
            raise CheckpointError(
                f"{folder}: holds a checkpoint of another trial: {path} is {there} there and {here} in this trial; "
                f"{ADVICE}"
            )
    if progress.class_names != class_names:
        raise CheckpointError(
            f"{folder}: holds a checkpoint of other data: "
            f"{_first_difference(progress.class_names, class_names)}; {ADVICE}"
        )
    for name in (MODEL, AVERAGE, OPTIMIZER):
        if not (checkpoint / name).exists():
            raise CheckpointError(f"{checkpoint}: got no {name}, as in a trial that has ended; {ADVICE}")


def check_same_steps(checkpoint: Path, before: int, now: int) -> None:
    """Check that the schedule of a checkpoint has as many steps as the trial.

    Raises:
        CheckpointError: the training split has another number of images than when the checkpoint was written.
    """
    if before != now:
        raise CheckpointError(
            f"{checkpoint.parent}: holds a checkpoint of other data: its trial has {before} steps, with this training "
            f"split it has {now}; {ADVICE}"
        )


def check_same_features(checkpoint: Path, before: str, now: str) -> None:
    """Check that the file of a trial's own features has the content with which the trial began.

    Raises:
        CheckpointError: it was replaced.
    """
    # Empty: the checkpoint is of a version that did not record it.
    if before and before != now:
        raise CheckpointError(
            f"{checkpoint.parent}: holds a checkpoint of other features: data.features has the content {now[:12]}… now "
            f"and had {before[:12]}…; valid: restore that file, or move this folder away, and the trial begins again "
            "with its first epoch"
        )


def _first_difference(before: tuple[str, ...], now: tuple[str, ...]) -> str:
    for place, (there, here) in enumerate(zip_longest(before, now), start=1):
        if there != here:
            there, here = ("missing" if name is None else show_value(name) for name in (there, here))
            return f"class {place} is {there} there and {here} in this trial's data"
    raise ValueError("the class names do not differ")
