"""The rungs of a search, with the learning rate at each of them: trials must not be judged on their warm-up."""

import math
from dataclasses import dataclass

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.space.first_rung import WARMUP, first_epoch_after_warmup, longest_warmup
from kmcl_platform.plugins.scheduler import RungScheduler


@dataclass(frozen=True)
class Rung:
    """An epoch after which trials may be stopped.

    Attributes:
        epoch: from 1.
        schedule_share: share of a trial's steps that are done then, in (0, 1).
        peak_share: the learning rate after it, as a share of its peak, in (0, 1].
        rising: whether the learning rate still rises: trials are judged on their warm-up.
    """

    epoch: int
    schedule_share: float
    peak_share: float
    rising: bool

    def __str__(self) -> str:
        warning = ", which still rises: trials are judged on their warm-up" if self.rising else ""
        return (
            f"epoch {self.epoch}: {self.schedule_share:.0%} of the schedule, "
            f"learning rate {self.peak_share:.0%} of its peak{warning}"
        )


def list_rungs(file: SearchFile) -> list[Rung]:
    """The rungs of a search file, without arms; none for a scheduler that finds its rungs, or that stops nobody.

    If the warm-up is searched, its longest one counts.
    """
    if file.scheduler.finds_rungs:
        return []
    warmup = longest_warmup(file.base, file.space)
    epochs = file.base.num_epochs
    return [
        Rung(epoch, epoch / epochs, peak_share(epoch / epochs, warmup), epoch / epochs < warmup)
        for epoch in file.scheduler.stopping_epochs(epochs)
    ]


def find_early_rung(file: SearchFile) -> str | None:
    """Why the scheduler judges trials too early, in words; None: it does not, it has no first rung, or it may."""
    if not isinstance(file.scheduler, RungScheduler) or file.scheduler.allow_early_rungs:
        return None
    rungs = list_rungs(file)
    if not any(rung.rising for rung in rungs):
        return None
    peak = longest_warmup(file.base, file.space) * file.base.num_epochs
    least = first_epoch_after_warmup(file.base, file.space)
    return (
        f"scheduler.min_epochs: got {rungs[0].epoch}, but the learning rate rises until epoch {peak:.3g} of "
        f"{file.base.num_epochs}, and a trial that is judged before then is judged on its warm-up; valid: at least "
        f"{least}, a smaller {WARMUP}, or allow_early_rungs: true"
    )


def peak_share(share: float, warmup: float) -> float:
    """The one-cycle learning rate as a share of its peak, after a share of all steps.

    It rises from 1/25 along a cosine until the share `warmup`, and then falls along one to 1/250,000
    (`training/optim.py`).
    """
    first, last = 1 / 25, 1 / 250_000
    if share < warmup:
        return first + (1 - first) * (1 - math.cos(math.pi * share / warmup)) / 2
    return last + (1 - last) * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup))) / 2
