"""Breaks: writes checkpoints within an epoch, so that a lost worker does not cost a whole epoch."""

import logging
import time
from collections.abc import Callable

import torch

from kmcl_platform.training.checkpoints.epoch_part import EpochPart, WorkerPart
from kmcl_platform.training.step import CHECK_EVERY, LossWatch
from kmcl_platform.training.workers.distributed import Workers

logger = logging.getLogger(__name__)


class ToldToEnd(RuntimeError):
    """A worker of the group was told that its machine is taken away. The trial has a checkpoint and can go on."""


class Breaks:
    """Looks after each step whether it is time for a checkpoint. All workers have one, and decide together."""

    def __init__(
        self,
        workers: Workers,
        *,
        minutes: float | None,
        must_end: Callable[[], bool],
        worker_part: Callable[[], WorkerPart],
        save: Callable[[EpochPart], None],
    ) -> None:
        """
        Args:
            workers: this process's place in the group.
            minutes: between two checkpoints. None: one is only written at a notice.
            must_end: whether this process was told to end.
            worker_part: returns the part of this worker.
            save: writes a checkpoint within the epoch; called on the first worker only.
        """
        self._workers = workers
        self._minutes = minutes
        self._must_end = must_end
        self._worker_part = worker_part
        self._save = save
        self._began = self._saved = time.monotonic()

    def begin_epoch(self, part: EpochPart | None) -> None:
        """An epoch begins, or goes on after a part of it. The checkpoint before it counts as just written."""
        self._saved = time.monotonic()
        self._began = self._saved - (part.seconds if part else 0.0)

    @property
    def began(self) -> float:
        """When the epoch would have begun without the time between its parts, on the clock of `time.monotonic`."""
        return self._began

    def __call__(self, step: int, watch: LossWatch) -> None:
        """Write a checkpoint after this step, if it is due.

        Raises:
            ToldToEnd: after the checkpoint, on every worker; some worker was told to end.
            StoreError: the disk is full.
        """
        # Several workers have to agree, for which they wait for one another and for their devices. The check of the
        # loss does so at the same steps.
        if self._workers.world_size > 1 and step % CHECK_EVERY:
            return
        must_end = self._must_end()
        is_late = self._minutes is not None and time.monotonic() - self._saved >= 60 * self._minutes
        if self._workers.world_size > 1:
            wanted = torch.tensor([must_end, is_late], dtype=torch.float32, device=self._workers.device)
            must_end, is_late = (self._workers.mean(wanted) > 0).tolist()
        if not must_end and not is_late:
            return
        own = self._worker_part()
        part = EpochPart(step, watch.terms(), time.monotonic() - self._began, self._workers.gather(own))
        if self._workers.is_first:
            self._save(part)
        self._saved = time.monotonic()
        if must_end:
            raise ToldToEnd(f"a worker was told to end; its trial goes on after step {step} of the epoch")
