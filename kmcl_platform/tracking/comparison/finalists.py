"""The finalists of a search: its best trials, trained again on new seeds. Their means decide which one is best."""

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from kmcl_platform.config.store import Store
from kmcl_platform.tracking.comparison.arms import compare_retrained, record_verdict, seed_values
from kmcl_platform.tracking.comparison.baselines import compare_leaderboard, retrained_label, trial_label
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs.leaderboard import Leaderboard, LeaderboardRow, read_leaderboard
from kmcl_platform.tracking.runs.names import FINALISTS_TAG
from kmcl_platform.tracking.runs.ownership import check_own


@dataclass(frozen=True)
class Finalist:
    """One trial that was trained again.

    Attributes:
        number: the trial's number in the search.
        baseline: the baseline's name; empty: the search drew this trial.
        own: its value in the search.
        finished: the number of new seeds on which it trained to its last epoch.
        mean: of its values on these seeds. None: it finished none.
        deviation: standard deviation of these values. None: it finished fewer than two.
    """

    number: int
    baseline: str
    own: float
    finished: int
    mean: float | None
    deviation: float | None

    def __str__(self) -> str:
        return f"trial {self.number}{f' (baseline {self.baseline})' if self.baseline else ''}"


@dataclass(frozen=True)
class FinalistResults:
    """All finalists of a search, the best first: those that finished most seeds, of these the best mean.

    Attributes:
        metric: the objective.
        sign: 1 if larger values are better, -1 if smaller ones are.
        num_seeds: the number of new seeds.
        epochs: the number of epochs of all these trainings.
        hours: the time of these trainings and their evaluation, added up.
        trials: the finalists.
    """

    metric: str
    sign: int
    num_seeds: int
    epochs: int
    hours: float
    trials: tuple[Finalist, ...]

    @property
    def best(self) -> Finalist:
        """The finalist that is promoted."""
        return self.trials[0]

    def sentences(self) -> list[str]:
        """The cost of the finalists, the best of them, and how far luck had raised the best value of the search."""
        count = len(self.trials) * self.num_seeds
        lines = [
            f"finalists: {len(self.trials)} trials on {self.num_seeds} new seeds: {count} trainings, {self.epochs} "
            f"epochs, {self.hours:.2g} hours, in addition to the budget of the search"
        ]
        if self.best.mean is not None:
            lines.append(
                f"{self.best} has the best mean, {self.metric} {self.best.mean:.4f}: kmcl promote takes this trial"
            )
        lines += self._lead()
        first = max(self.trials, key=lambda one: (self.sign * one.own, -one.number))
        if first.mean is not None:
            lost = self.sign * (first.own - first.mean)
            word = "worse" if lost > 0 else "better"
            lines.append(
                f"{first} had the best value of the search, {first.own:.4f}. Its mean over {first.finished} new seeds "
                f"is {first.mean:.4f}, {abs(lost):.4f} {word}: the best of many values is partly luck"
            )
        return lines

    def _lead(self) -> list[str]:
        """Whether the best finalist is ahead of the next one by more than the seeds differ by; empty: not known."""
        if len(self.trials) < 2:
            return []
        best, second = self.trials[:2]
        if best.mean is None or second.mean is None or best.deviation is None or second.deviation is None:
            return []
        # Twice the standard error of the difference of two means.
        doubt = 2 * math.sqrt(best.deviation**2 / best.finished + second.deviation**2 / second.finished)
        lead = abs(best.mean - second.mean)
        if lead > doubt:
            return []
        return [
            f"its lead over {second}, {lead:.4f}, is less than {best.finished} seeds can tell ({doubt:.4f}): more "
            "seeds (finalists.seeds) would show which of them is better"
        ]


def score_finalists(store: Store, search: str, retrained: Mapping[str, str]) -> FinalistResults:
    """The finalists of a search with their values on the new seeds.

    Args:
        store: where the searches are.
        search: the search.
        retrained: for each finalist, named as in `trial_label`, the search that trained it again.

    Raises:
        SearchError: such a search is not in the store.
    """
    board = read_leaderboard(store, search)
    rows = {trial_label(row.number, row.baseline_name): row for row in board.rows if row.rank is not None}
    again = {name: read_leaderboard(store, own) for name, own in retrained.items()}
    sign = 1 if board.mode == "maximize" else -1
    trials = [_finalist(rows[name], list(seed_values(own).values())) for name, own in again.items() if name in rows]

    def merit(one: Finalist) -> tuple[float, ...]:
        return -one.finished, 0.0 if one.mean is None else -sign * one.mean, -sign * one.own, one.number

    trainings = [row for own in again.values() for row in own.rows]
    return FinalistResults(
        metric=board.metric,
        sign=sign,
        num_seeds=max(len(own.rows) for own in again.values()),
        epochs=sum(row.epochs for row in trainings),
        hours=sum(row.wall_seconds for row in trainings) / 3600,
        trials=tuple(sorted(trials, key=merit)),
    )


def record_finalists(store: Store, search: str, retrained: Mapping[str, str]) -> None:
    """Write the finalists to the run of a search, and how its best trial and its best baseline compare.

    Args:
        store: where the searches are.
        search: the search.
        retrained: as for `score_finalists`.

    Raises:
        SearchError: such a search is not in the store, or belongs to another one.
    """
    board = read_leaderboard(store, search)
    check_own(store, board.experiment_id)
    found = score_finalists(store, search, retrained)
    # One tag, which is written as a whole: a reader never sees half of it.
    connect(store).set_tag(board.parent_id, FINALISTS_TAG, json.dumps(asdict(found), allow_nan=False))
    compared = compare_leaderboard(board)
    if compared and compared.best:
        names = [retrained_label(one) for one in (compared.baseline, compared.best)]
        if all(name in retrained for name in names):
            comparisons = compare_retrained(store, {name: retrained[name] for name in names})
            record_verdict(store, [search], comparisons, of_baselines=True)


def read_finalists(board: Leaderboard) -> FinalistResults | None:
    """The finalists in the record of a search. None: it has none, or has found a better trial since then."""
    if not board.finalists:
        return None
    tree = json.loads(board.finalists)
    found = FinalistResults(**(tree | {"trials": tuple(Finalist(**one) for one in tree["trials"])}))
    own = {one.number: one.own for one in found.trials}
    best = board.rows[0] if board.rows else None
    return found if best and own.get(best.number) == best.objective else None


def promoted_row(board: Leaderboard) -> LeaderboardRow:
    """The trial that a promotion takes: the best finalist, or without finalists the trial with the best value.

    Raises:
        SearchError: no trial completed at full length.
    """
    best = board.best()
    if finalists := read_finalists(board):
        return next((row for row in board.rows if row.number == finalists.best.number), best)
    return best


def _finalist(row: LeaderboardRow, values: list[float]) -> Finalist:
    return Finalist(
        number=row.number,
        baseline=row.baseline_name,
        own=row.objective or 0.0,
        finished=len(values),
        mean=statistics.fmean(values) if values else None,
        deviation=statistics.stdev(values) if len(values) > 1 else None,
    )
