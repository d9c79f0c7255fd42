"""The time that a search has spent of its budget, over all its starts."""

import time
from collections.abc import Callable

import optuna

from kmcl_platform.config.search_file import SearchFile

SPENT = "spent"
"""Attribute of the study: seconds, and GPU-seconds."""

CHARGE_SECONDS = 5.0
"""The longest time between two writes of the spent time while a search runs; a driver that is killed loses no more."""


class Ledger:
    """The time that a search has spent. It is stored in the study, so that a killed driver does not lose it.

    Wall time runs from `start`, and includes the start of the workers. The time between two starts of a search is not
    charged. `hours` and `time_spent` include the time since the last write, so that a trial which never reports is
    charged like any other. GPU time is that of finished epochs: training and evaluation, times the GPUs of a trial.
    """

    def __init__(self, study: optuna.Study, file: SearchFile, clock: Callable[[], float] | None = None) -> None:
        """Read what the search has spent; `clock` gives the time in seconds. None: that of this machine."""
        self._study = study
        # `time.monotonic`, not the time of day: a machine's clock may be corrected while a search runs.
        self._clock = clock
        self._budget = file.budget
        self._gpus = file.resources.workers_per_trial * file.resources.gpus_per_worker
        spent = study.user_attrs.get(SPENT, {"seconds": 0.0, "gpu_seconds": 0.0})
        self._seconds = float(spent["seconds"])
        self._gpu_seconds = float(spent["gpu_seconds"])
        self._last: float | None = None

    def start(self) -> None:
        """Start the clock."""
        self._last = self._now()

    def add_epoch(self, seconds: float) -> None:
        """Add the GPU time of an epoch. Short epochs are written together: each write waits for the disk."""
        self._gpu_seconds += seconds * self._gpus
        if seconds >= CHARGE_SECONDS or self.is_charge_due():
            self.charge()

    def charge(self) -> None:
        """Write the time since the last charge, and the GPU time of all epochs."""
        now = self._now()
        # The sums change before the write. If the write fails, the next charge writes them, and nothing is counted
        # twice.
        if self._last is not None:
            self._seconds += now - self._last
            self._last = now
        self.write()

    def stop(self) -> None:
        """Write the time since the last charge, and stop the clock. Later work, such as the report, is not charged."""
        self.charge()
        self._last = None

    def write(self) -> None:
        """Write what was charged; safe to repeat."""
        self._study.set_user_attr(SPENT, {"seconds": self._seconds, "gpu_seconds": self._gpu_seconds})

    def is_charge_due(self) -> bool:
        """Whether the clock runs and the last charge is `CHARGE_SECONDS` ago."""
        return self._running() >= CHARGE_SECONDS

    def use(self, study: optuna.Study) -> None:
        """From now on, write into this study, which was opened again."""
        # The sums in memory are newer than those in the database, so they are not read again.
        self._study = study

    @property
    def hours(self) -> float:
        """Wall time, up to this moment."""
        return (self._seconds + self._running()) / 3600

    @property
    def gpu_hours(self) -> float:
        """GPU time of finished epochs."""
        return self._gpu_seconds / 3600

    def time_spent(self) -> str | None:
        """The bound on time that is reached, in words; None: there is time left."""
        for name, spent, bound in (
            ("hours", self.hours, self._budget.hours),
            ("gpu_hours", self.gpu_hours, self._budget.gpu_hours),
        ):
            if bound is not None and spent >= bound:
                return f"budget.{name}: {spent:.3g} of {bound:g} spent"
        return None

    def _now(self) -> float:
        return time.monotonic() if self._clock is None else self._clock()

    def _running(self) -> float:
        return 0.0 if self._last is None else self._now() - self._last
