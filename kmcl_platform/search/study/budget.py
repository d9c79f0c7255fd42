"""The time and the money that a search has spent of its budget, over all its starts."""

import time
from collections.abc import Callable

import optuna

from kmcl_platform.config.reports.trial_marks import SPENT
from kmcl_platform.config.search_file import SearchFile

CHARGE_SECONDS = 5.0
"""The longest time between two writes of the spent time while a search runs; a driver that is killed loses no more."""


class Ledger:
    """The time that a search has spent. It is stored in the study, so that a killed driver does not lose it.

    Wall time runs from `start`, and includes the start of the workers. The time between two starts of a search is not
    charged. `hours` and `time_spent` include the time since the last write, so that a trial which never reports is
    charged like any other. GPU time is that of finished epochs: training and evaluation, times the GPUs of a trial.
    Money is the price of all places for trials, from the start to the end: a place costs also while no trial trains in
    it.
    """

    def __init__(self, study: optuna.Study, file: SearchFile, clock: Callable[[], float] | None = None) -> None:
        """Read what the search has spent; `clock` gives the time in seconds. None: that of this machine."""
        self._study = study
        # `time.monotonic`, not the time of day: a machine's clock may be corrected while a search runs.
        self._clock = clock
        self._budget = file.budget
        self._gpus = file.resources.workers_per_trial * file.resources.gpus_per_worker
        self._price = file.resources.price_per_hour
        spent = study.user_attrs.get(SPENT, {})
        self._seconds = float(spent.get("seconds", 0.0))
        self._gpu_seconds = float(spent.get("gpu_seconds", 0.0))
        # Searches of older versions have neither of these two.
        self._training_seconds = float(spent.get("training_seconds", 0.0))
        self._place_seconds = float(spent.get("place_seconds", 0.0))
        self._places = 1
        self._last: float | None = None

    def start(self, places: int = 1) -> None:
        """Start the clock, for so many trials at the same time."""
        self._places = places
        self._last = self._now()

    def resize(self, places: int) -> None:
        """Charge the time so far, and go on with another number of trials at the same time."""
        self.charge()
        self._places = places

    def add_epoch(self, seconds: float) -> None:
        """Add the GPU time of an epoch. Short epochs are written together: each write waits for the disk."""
        self._gpu_seconds += seconds * self._gpus
        self._training_seconds += seconds
        if seconds >= CHARGE_SECONDS or self.is_charge_due():
            self.charge()

    def charge(self) -> None:
        """Write the time since the last charge, and the GPU time of all epochs."""
        now = self._now()
        # The sums change before the write. If the write fails, the next charge writes them, and nothing is counted
        # twice.
        if self._last is not None:
            self._seconds += now - self._last
            self._place_seconds += (now - self._last) * self._places
            self._last = now
        self.write()

    def stop(self) -> None:
        """Write the time since the last charge, and stop the clock. Later work, such as the report, is not charged."""
        self.charge()
        self._last = None

    def write(self) -> None:
        """Write what was charged; safe to repeat."""
        spent = {
            "seconds": self._seconds,
            "gpu_seconds": self._gpu_seconds,
            "training_seconds": self._training_seconds,
            "place_seconds": self._place_seconds,
        }
        self._study.set_user_attr(SPENT, spent)

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

    @property
    def money(self) -> float | None:
        """The cost up to this moment; None: there is no price."""
        seconds = self._place_seconds + self._running() * self._places
        return None if self._price is None else self._price * seconds / 3600

    @property
    def idle_money(self) -> float | None:
        """The part of `money` in which no trial trained: starts, the time between trials, epochs that were lost."""
        money = self.money
        if money is None or self._price is None:
            return None
        return max(0.0, money - self._price * self._training_seconds / 3600)

    def metrics(self) -> dict[str, float]:
        """What was spent, under the names of MLflow's metrics."""
        spent = {"hours": self.hours, "gpu_hours": self.gpu_hours, "money": self.money, "idle_money": self.idle_money}
        return {name: value for name, value in spent.items() if value is not None}

    def time_spent(self) -> str | None:
        """The bound on time or money that is reached, in words; None: there is some left."""
        for name, spent, bound in (
            ("hours", self.hours, self._budget.hours),
            ("gpu_hours", self.gpu_hours, self._budget.gpu_hours),
            ("money", self.money, self._budget.money),
        ):
            if bound is not None and spent is not None and spent >= bound:
                return f"budget.{name}: {spent:.3g} of {bound:g} spent"
        return None

    def _now(self) -> float:
        return time.monotonic() if self._clock is None else self._clock()

    def _running(self) -> float:
        return 0.0 if self._last is None else self._now() - self._last
