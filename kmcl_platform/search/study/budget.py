"""What a search has spent of its budget's time, over all its starts."""

import time

import optuna

from kmcl_platform.config.search_file import SearchFile

SPENT = "spent"
"""Attribute of the study: seconds, and GPU-seconds."""


class Ledger:
    """Time spent, kept in the study: a driver that is killed takes no more with it than the epochs not yet told of.

    Wall time runs from `start`, the start of the workers included; the time between two starts of a search is free. GPU
    time is that of training and evaluation, on as many GPUs as a trial holds.
    """

    def __init__(self, study: optuna.Study, file: SearchFile) -> None:
        self._study = study
        self._budget = file.budget
        self._gpus = file.resources.workers_per_trial * file.resources.gpus_per_worker
        spent = study.user_attrs.get(SPENT, {"seconds": 0.0, "gpu_seconds": 0.0})
        self._seconds = float(spent["seconds"])
        self._gpu_seconds = float(spent["gpu_seconds"])
        self._last: float | None = None

    def start(self) -> None:
        """Let the clock run."""
        self._last = time.monotonic()

    def charge(self, epoch_seconds: float) -> None:
        """Write down the time since the last charge, and an epoch's GPU time."""
        now = time.monotonic()
        if self._last is not None:
            self._seconds += now - self._last
            self._last = now
        self._gpu_seconds += epoch_seconds * self._gpus
        self._study.set_user_attr(SPENT, {"seconds": self._seconds, "gpu_seconds": self._gpu_seconds})

    @property
    def hours(self) -> float:
        """Wall time."""
        return self._seconds / 3600

    @property
    def gpu_hours(self) -> float:
        """GPU time."""
        return self._gpu_seconds / 3600

    def time_spent(self) -> str | None:
        """Which bound on time is reached, in words, or none."""
        for name, spent, bound in (
            ("hours", self.hours, self._budget.hours),
            ("gpu_hours", self.gpu_hours, self._budget.gpu_hours),
        ):
            if bound is not None and spent >= bound:
                return f"budget.{name}: {spent:.3g} of {bound:g} spent"
        return None
