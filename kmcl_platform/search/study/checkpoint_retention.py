"""Which checkpoints of a search are kept, and how many bytes they take."""

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmcl_platform.config.store import Store
from kmcl_platform.training.checkpoints.checkpoint_folder import find_checkpoint, folder_bytes, keep_average

if TYPE_CHECKING:
    from kmcl_platform.search.study.study import DurableStudy


@dataclass(frozen=True)
class Kept:
    """What a search has on disk.

    Attributes:
        trials: trials with a checkpoint.
        bytes: of all their files.
    """

    trials: int
    bytes: int


def drop_checkpoints(store: Store, search: str, study: "DurableStudy", *, keep: int) -> None:
    """Remove what no continued search and no promotion will read.

    Trials that are open keep their whole checkpoints; of the finished ones the best `keep` keep their averaged weights,
    from which the model is made. Safe to repeat, and to be killed in: the study alone decides.
    """
    best = set(study.best_numbers(keep))
    for number in study.verdicts():
        folder = store.trial_checkpoints(search, number)
        if number not in best:
            shutil.rmtree(folder, ignore_errors=not folder.exists())
        elif checkpoint := find_checkpoint(folder):
            keep_average(checkpoint)


def kept_metrics(kept: Kept) -> dict[str, float]:
    """What the search's run shows of it."""
    return {"checkpoints/trials": kept.trials, "checkpoints/bytes": kept.bytes}


def measure_checkpoints(store: Store, search: str) -> Kept:
    """Count what is there."""
    folders = [folder for folder in (store.checkpoints / search).glob("trial-*/") if find_checkpoint(folder)]
    return Kept(len(folders), sum(folder_bytes(folder) for folder in folders))
