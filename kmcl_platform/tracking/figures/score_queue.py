"""ScoreQueue: validation scores of trials that have ended, until their pictures are in MLflow."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from kmcl_platform.config.store import Store
from kmcl_platform.data.scores_file import VALIDATION_SCORES

_NAME = re.compile(r"trial-(\d+)\.(completed|pruned)\.safetensors")


@dataclass(frozen=True)
class QueuedScores:
    """A trial's scores.

    Attributes:
        number: the trial's.
        complete: whether it trained to its last epoch; of others only the table is made.
        scores: the file.
        folder: where its tables and pictures go.
    """

    number: int
    complete: bool
    scores: Path
    folder: Path

    def drop(self) -> None:
        """Remove the scores, once they are no longer needed."""
        self.scores.unlink(missing_ok=True)


class ScoreQueue:
    """A search's folder of scores."""

    def __init__(self, store: Store, search: str) -> None:
        """Name the folder; nothing is created."""
        self._folder = store.root / "evidence" / search

    @property
    def baseline(self) -> Path:
        """Scores of the search's baseline trial, which all others are drawn against."""
        return self._folder / "baseline.safetensors"

    def keep(self, number: int, checkpoint: Path | None, *, complete: bool, baseline: bool) -> QueuedScores | None:
        """Copy the scores of a trial's last checkpoint; none where it has none.

        Raises:
            OSError: they cannot be copied, such as on a full disk.
        """
        source = checkpoint / VALIDATION_SCORES if checkpoint else None
        if source is None or not source.exists():
            return None
        kept = self._kept(number, complete)
        self._folder.mkdir(parents=True, exist_ok=True)
        _copy(source, kept.scores)
        if baseline:
            _copy(source, self.baseline)
        return kept

    def waiting(self) -> list[QueuedScores]:
        """What a former driver kept and did not live to draw, oldest trial first."""
        found = [_NAME.fullmatch(path.name) for path in self._folder.glob("trial-*.safetensors")]
        return sorted(
            (self._kept(int(match[1]), match[2] == "completed") for match in found if match),
            key=lambda kept: kept.number,
        )

    def _kept(self, number: int, complete: bool) -> QueuedScores:
        name = f"trial-{number:04d}"
        scores = self._folder / f"{name}.{'completed' if complete else 'pruned'}.safetensors"
        return QueuedScores(number, complete, scores, self._folder / name)


def _copy(source: Path, target: Path) -> None:
    draft = target.with_name(f".{target.name}.writing")
    try:
        shutil.copyfile(source, draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
