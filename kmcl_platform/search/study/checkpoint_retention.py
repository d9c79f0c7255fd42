"""Which checkpoints of a search stay on the disk, and how many bytes they take."""

import logging
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmcl_platform.config.store import Store
from kmcl_platform.search.study.checkpoint_check import find_difference, trial_folders
from kmcl_platform.search.study.compared_trials import list_finalists
from kmcl_platform.training.checkpoints.checkpoint_folder import find_checkpoint, folder_bytes, keep_average

if TYPE_CHECKING:
    from kmcl_platform.search.study.study import DurableStudy

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckpointsOnDisk:
    """What a search has on disk.

    Attributes:
        trials: the number of trials with a checkpoint.
        bytes: the size of all their files.
    """

    trials: int
    bytes: int


def drop_checkpoints(store: Store, search: str, study: "DurableStudy", *, keep: int) -> None:
    """Remove the checkpoints that no continued search and no promotion will read.

    Open trials keep their whole checkpoints. Of the finished trials, the best `keep` ones, the finalists and the
    trade-offs of several objectives keep their averaged weights, from which a model is made. The study decides alone,
    so this may be repeated, and may be killed at any moment.

    A folder is only touched if the study has ended its trial and the checkpoint in it has that trial's configuration:
    with the wrong study, or an empty one, nothing is deleted.
    """
    ended = study.ended
    best = {*ended.best(keep), *list_finalists(study), *ended.front()}
    for number, folder in trial_folders(store, search):
        if number not in ended.ends:
            continue
        checkpoint = find_checkpoint(folder)
        if checkpoint and (difference := find_difference(checkpoint, study.point(number).config)):
            _logger.warning("%s: left alone: it is the checkpoint of another trial, with %s", checkpoint, difference)
        elif number not in best:
            # A folder that is already gone is not an error. Any other error is raised.
            shutil.rmtree(folder, ignore_errors=not folder.exists())
        elif checkpoint:
            keep_average(checkpoint)


def checkpoint_metrics(held: CheckpointsOnDisk) -> dict[str, float]:
    """The metrics of the search's run that say what it has on disk."""
    return {"checkpoints/trials": held.trials, "checkpoints/bytes": held.bytes}


def measure_checkpoints(store: Store, search: str) -> CheckpointsOnDisk:
    """Count the checkpoints of a search and their bytes."""
    folders = [folder for _, folder in trial_folders(store, search) if find_checkpoint(folder)]
    return CheckpointsOnDisk(len(folders), sum(folder_bytes(folder) for folder in folders))
