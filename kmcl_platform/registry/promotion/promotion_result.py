"""The result of a promotion, and its text."""

from collections.abc import Iterable
from dataclasses import dataclass

from kmcl_platform.messages import count_of
from kmcl_platform.registry.model.error_detection import ErrorDetection
from kmcl_platform.registry.model.versions import CHAMPION
from kmcl_platform.registry.promotion.gates import GateResult
from kmcl_platform.shown import Shown
from kmcl_platform.tracking.runs.leaderboard import LeaderboardRow


@dataclass(frozen=True)
class PromotionResult(Shown):
    """The result of a promotion.

    Attributes:
        model: name of the registered model, which is the search's name.
        version: the champion's version afterwards. Empty: there is no champion.
        row: the candidate's row of the leaderboard; of an ensemble, that of its first member.
        metrics: the candidate's metrics on the validation and test splits, `val/NAME` and `test/NAME`.
        gates: the results of the gates; empty if the candidate is the champion already.
        promoted: whether the candidate is the champion now.
        already: whether the candidate was the champion before.
        openings: how often each search of the store has opened the test split of this data.
        error_detection: what was measured on validation about finding wrong decisions. None: the candidate is the
            champion already.
        others: rows of the further members of an ensemble; empty: one trial.
        named: whether the user named the trial, which may then not be the best one.
    """

    model: str
    version: str
    row: LeaderboardRow
    metrics: dict[str, float]
    gates: list[GateResult]
    promoted: bool
    already: bool
    openings: dict[str, int]
    error_detection: ErrorDetection | None
    others: tuple[LeaderboardRow, ...] = ()
    named: bool = False

    @property
    def uri(self) -> str:
        """The champion's URI, which stays valid when another version becomes the champion."""
        return f"models:/{self.model}@{CHAMPION}"

    def parts(self) -> Iterable[str]:
        """The gates, and what became of the candidate."""
        yield from (f"gate {'passed' if one.passed else 'FAILED'}: {one.gate} {one.text}" for one in self.gates)
        if self.error_detection:
            yield self.error_detection.sentence()
        opened = sum(self.openings.values())
        others = opened - self.openings.get(self.model, 0)
        shared = f", {others} of them by other searches" if len(self.openings) > 1 else ""
        yield f"the test split of this data was opened for {count_of(opened, 'model')}{shared}"
        if not self.promoted:
            stays = f"version {self.version} stays the champion" if self.version else "there is no champion"
            what = f"the ensemble of trials {self._numbers()}" if self.others else f"trial {self.row.number}"
            yield f"{what} is not promoted; {stays}"
            return
        yield "already the champion:" if self.already else "promoted:"
        if self.others:
            yield f"  ensemble     trials {self._numbers()} of search {self.model} ({self.row.epochs} epochs)"
        else:
            word = "trial" if self.named else "best trial"
            yield f"  {word:<12} {self.row.number} of search {self.model} ({self.row.epochs} epochs)"
        for name in ("val/mAP", "test/mAP"):
            value = self.metrics.get(name)
            yield f"  {name:<12} {'undefined' if value is None else f'{value:.4f}'}"
        yield f"  champion     {self.uri} (version {self.version})"

    def _numbers(self) -> str:
        return ", ".join(str(row.number) for row in (self.row, *self.others))
