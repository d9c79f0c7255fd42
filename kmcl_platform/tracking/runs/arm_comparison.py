"""The verdict on arms: the differences of their retrained best trials, seed by seed, and what they show."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from kmcl_platform.config.store import Store
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.runs.leaderboard import Leaderboard, read_leaderboard
from kmcl_platform.tracking.runs.names import VERDICT_FILE, VERDICT_TAG, TrialOutcome

CONFIDENCE = 0.95
_SEED = "seed"
"""The path that searches of a verdict search."""


@dataclass(frozen=True)
class Comparison:
    """One arm against another, over the seeds that both finished.

    Attributes:
        arm: the arm that is judged.
        reference: the arm that it is held against.
        metric: the objective of both.
        sign: 1 where larger values are better, -1 where smaller ones are.
        num_seeds: pairs of trainings.
        mean: of arm minus reference; none without a pair.
        low: lower end of the 95 % interval of the mean; none for fewer than two pairs.
        high: its upper end.
    """

    arm: str
    reference: str
    metric: str
    sign: int
    num_seeds: int
    mean: float | None
    low: float | None
    high: float | None

    @property
    def better(self) -> str | None:
        """The name of the arm that is shown to be better, or none where no difference is shown."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return None
        return self.arm if self.sign * self.low > 0 else self.reference

    def __str__(self) -> str:
        if self.mean is None or self.low is None or self.high is None:
            return (
                f"{self.arm} against {self.reference}: no verdict: {self.num_seeds} seeds that both finished; "
                "valid: 2 or more"
            )
        found = f"95 % interval [{self.low:+.4f}, {self.high:+.4f}], {self.num_seeds} seeds"
        if self.better is None:
            return f"{self.arm} against {self.reference}: no difference shown ({self.metric} {self.mean:+.4f}, {found})"
        worse = "" if self.better == self.arm else ", which is worse"
        return f"{self.arm} {self.mean:+.4f} {self.metric} against {self.reference}{worse}, {found}"


def compare(
    arm: str, scores: Mapping[int, float], reference: str, others: Mapping[int, float], *, metric: str, sign: int
) -> Comparison:
    """Hold one arm against another.

    The interval is Student's t-interval of the mean of the differences, paired by seed. It speaks of the chance in a
    training (initial weights, order of images, augmentation), with the data and the tuned values as they are.

    Args:
        arm: its name.
        scores: its objective by seed.
        reference: the other arm's name.
        others: the other's objective by seed.
        metric: the objective's.
        sign: 1 where larger values are better, -1 where smaller ones are.
    """
    from scipy.stats import t

    differences = [scores[seed] - others[seed] for seed in sorted(scores.keys() & others.keys())]
    count = len(differences)
    mean = statistics.fmean(differences) if differences else None
    low = high = None
    if mean is not None and count >= 2:
        spread = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * statistics.stdev(differences) / count**0.5
        low, high = mean - spread, mean + spread
    return Comparison(arm, reference, metric, sign, count, mean, low, high)


def compare_retrained(store: Store, retrained: Mapping[str, str]) -> list[Comparison]:
    """Hold every arm against the first one.

    Args:
        store: where the searches are.
        retrained: the name of each arm, in the file's order, and the search in which its best trial was trained again.

    Raises:
        SearchError: such a search is not in the store.
    """
    boards = {arm: read_leaderboard(store, search) for arm, search in retrained.items()}
    scores = {arm: _scores(board) for arm, board in boards.items()}
    reference, *others = scores
    metric, sign = boards[reference].metric, 1 if boards[reference].mode == "maximize" else -1
    return [compare(arm, scores[arm], reference, scores[reference], metric=metric, sign=sign) for arm in others]


def record_verdict(store: Store, searches: Sequence[str], comparisons: Sequence[Comparison]) -> None:
    """Write the verdict to the run of each arm's search: a tag for the eye, a file for programs.

    Raises:
        SearchError: such a search is not in the store.
    """
    client = connect(store)
    documents = [asdict(one) | {"better": one.better} for one in comparisons]
    text = json.dumps({"confidence": CONFIDENCE, "comparisons": documents}, indent=1, allow_nan=False)
    for search in searches:
        run_id = read_leaderboard(store, search).parent_id
        client.log_text(run_id, text, VERDICT_FILE)
        client.set_tag(run_id, VERDICT_TAG, "\n".join(map(str, comparisons)))


def _scores(board: Leaderboard) -> dict[int, float]:
    return {
        int(row.values[_SEED]): row.objective
        for row in board.rows
        if row.outcome == TrialOutcome.COMPLETED and row.objective is not None
    }
