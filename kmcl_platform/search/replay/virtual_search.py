"""One search in virtual time: every decision is made by the classes of a real search, and no network is trained."""

import heapq
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.search.forecast.costs import EPOCH_OVERHEAD_SECONDS, TRIAL_OVERHEAD_SECONDS
from kmcl_platform.search.replay.archive_curves import ArchiveCurves, Curve, config_key, unlike_paths
from kmcl_platform.search.replay.surrogate import Surrogate
from kmcl_platform.search.sampling.first_points import COLD, WarmStart
from kmcl_platform.search.study.ended_trials import judge_epoch
from kmcl_platform.search.study.point import Point
from kmcl_platform.search.study.storage import MEMORY
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.seeds import derive_seed


@dataclass(frozen=True)
class VirtualSearch:
    """The course of one simulated search.

    Attributes:
        epochs: epochs that all trials had trained when a trial ended, for each trial that completed.
        seconds: the time at these moments.
        best: the best value so far at these moments.
        total_epochs: epochs of the whole search.
        total_seconds: its time.
        ends: how many trials ended in each way.
        regret: by how much the best trial that was stopped early would have been better than the best one, at least 0.
    """

    epochs: tuple[int, ...]
    seconds: tuple[float, ...]
    best: tuple[float, ...]
    total_epochs: int
    total_seconds: float
    ends: dict[str, int]
    regret: float

    @property
    def final(self) -> float:
        """The best value of the whole search; NaN: no trial completed."""
        return self.best[-1] if self.best else math.nan


class _Clock:
    """The time of a simulated search, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def simulate(
    file: SearchFile,
    surrogate: Surrogate,
    archive: ArchiveCurves,
    *,
    seed: int,
    at_once: int,
    warm_start: WarmStart = COLD,
) -> VirtualSearch:
    """Run a search in virtual time.

    Args:
        file: the search, without arms.
        surrogate: gives the curve of each point.
        archive: gives the curves of baselines that are no points of the space.
        seed: of the sampler, and of the chance in each trial. Trial k has the same chance under every setting.
        at_once: the number of trials that run at the same time, at least 1.
        warm_start: the points of earlier searches.
    """
    file = file.model_copy(update={"sampler": file.sampler.model_copy(update={"seed": seed})})
    clock, sign = _Clock(), file.objective.sign
    # Silent: hundreds of searches would each say when they find a rung.
    study = DurableStudy(MEMORY, file, say=lambda _: None, clock=clock, warm_start=warm_start)
    study.ledger.start(at_once)
    # The time of each running trial's next report. The second number breaks ties in the order of the trials' starts.
    queue: list[tuple[float, int, Point, Curve, int]] = []
    order, total_epochs, best, lost = 0, 0, -math.inf, -math.inf
    course: list[tuple[int, float, float]] = []
    ends: Counter[str] = Counter()

    def begin() -> None:
        nonlocal order
        point = study.next_point()
        if point is not None:
            curve = _curve(point, file, surrogate, archive, seed)
            order += 1
            start = clock.now + TRIAL_OVERHEAD_SECONDS
            heapq.heappush(queue, (start + curve.seconds_E[0], order, point, curve, 1))

    for _ in range(at_once):
        begin()
    while queue:
        clock.now, place, point, curve, epoch = heapq.heappop(queue)
        # Trials that run when the time is spent stay open, as in a real search, which ends at that moment.
        if study.ledger.time_spent():
            hours = file.budget.hours
            clock.now = clock.now if hours is None else min(clock.now, 3600 * hours)
            break
        total_epochs += 1
        end = None
        if epoch > len(curve.values_E):
            end = "diverged"
            study.tell(point.number, "diverged")
        else:
            value, seconds = curve.values_E[epoch - 1], curve.seconds_E[epoch - 1]
            end = judge_epoch(study, point, epoch, value, seconds=seconds, num_epochs=file.base.num_epochs)
            if end is not None:
                study.tell(point.number, end, value if end == "completed" else None)
            if end == "completed":
                best = max(best, sign * value)
                course.append((total_epochs, clock.now, sign * best))
            elif end == "pruned" and not curve.diverged:
                lost = max(lost, sign * curve.values_E[-1])
        if end is None:
            following = clock.now + EPOCH_OVERHEAD_SECONDS + curve.seconds_E[epoch]
            heapq.heappush(queue, (following, place, point, curve, epoch + 1))
        else:
            ends[end] += 1
            begin()
    return VirtualSearch(
        epochs=tuple(moment[0] for moment in course),
        seconds=tuple(moment[1] for moment in course),
        best=tuple(moment[2] for moment in course),
        total_epochs=total_epochs,
        total_seconds=clock.now,
        ends=dict(ends),
        regret=max(0.0, lost - best) if course else 0.0,
    )


def _curve(point: Point, file: SearchFile, surrogate: Surrogate, archive: ArchiveCurves, seed: int) -> Curve:
    rng = np.random.default_rng(derive_seed(seed, "chance", point.number))
    flat = point.config.flat()
    if point.baseline and unlike_paths(point.config, file):
        # A baseline outside the space. Without a curve of its own it gets that of the base, whose time is about the
        # same.
        if known := archive.others.get(config_key(point.config)):
            return known[int(rng.integers(len(known)))]
        return surrogate.curve({}, rng)
    return surrogate.curve({path: flat.get(path) for path in file.space}, rng)
