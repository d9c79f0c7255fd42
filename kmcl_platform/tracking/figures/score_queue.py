"""ScoreQueue: validation scores of trials that have ended, on disk until their figures are drawn."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from kmcl_platform.config.store import Store
from kmcl_platform.data.scores_file import VALIDATION_SCORES
from kmcl_platform.files.atomic_write import DRAFT_PREFIX, atomic_file

_NAME = re.compile(r"trial-(\d+)\.(pictures|table|completed|pruned)\.safetensors")
"""Older versions wrote `completed` and `pruned` for files with and without pictures."""


@dataclass(frozen=True)
class QueuedScores:
    """The scores of one trial.

    Attributes:
        number: the trial's number.
        pictures: whether its pictures are made too, or its table alone.
        scores: the file of the scores.
        folder: where its table and pictures will be.
    """

    number: int
    pictures: bool
    scores: Path
    folder: Path

    def remove(self) -> None:
        """Delete the scores, when they are no longer needed."""
        self.scores.unlink(missing_ok=True)


class ScoreQueue:
    """A folder with the scores of a search's trials.

    Two kinds of files are deleted in it, each by its own name: the scores of one trial when its figures are drawn and
    the outbox knows of them, and unfinished drafts. Nothing is deleted because it is missing from a list.
    """

    def __init__(self, store: Store, search: str) -> None:
        """Name the folder; nothing is created. The folder of an older version, if there is one, gets the new name."""
        self.folder = store.root / "figures" / search
        # Older versions gave this folder another name.
        older = store.root / "evidence" / search
        if older.is_dir() and not self.folder.exists():
            self.folder.parent.mkdir(exist_ok=True)
            older.rename(self.folder)

    @property
    def baseline(self) -> Path:
        """Scores of the search's baseline trial, which the figures of all other trials show for comparison."""
        return self.folder / "baseline.safetensors"

    def add(self, number: int, checkpoint: Path | None, *, pictures: bool, baseline: bool) -> QueuedScores | None:
        """Copy the scores of a trial's last checkpoint.

        Returns:
            The copy. None: there is no checkpoint, or it has no scores.

        Raises:
            OSError: the scores cannot be copied, for example because the disk is full.
        """
        source = checkpoint / VALIDATION_SCORES if checkpoint else None
        if source is None or not source.exists():
            return None
        queued = self._queued(number, pictures)
        self.folder.mkdir(parents=True, exist_ok=True)
        # If the driver is killed between the copies, its successor gets the last report again, and makes both again.
        for target in (queued.scores, self.baseline) if baseline else (queued.scores,):
            with atomic_file(target) as draft:
                shutil.copyfile(source, draft)
        return queued

    def waiting(self) -> list[QueuedScores]:
        """Scores whose figures are not drawn yet, oldest trial first."""
        found = [(path, _NAME.fullmatch(path.name)) for path in self.folder.glob("trial-*.safetensors")]
        queued = (
            QueuedScores(int(match[1]), match[2] in ("pictures", "completed"), path, self.figures(int(match[1])))
            for path, match in found
            if match
        )
        return sorted(queued, key=lambda one: one.number)

    def figures(self, number: int) -> Path:
        """The folder of a trial's table and pictures."""
        return self.folder / f"trial-{number:04d}"

    def remove_drafts(self) -> None:
        """Delete what killed processes left half-written. Only the driver that holds the search's lock may call it."""
        for path in self.folder.glob(f"{DRAFT_PREFIX}*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _queued(self, number: int, pictures: bool) -> QueuedScores:
        scores = self.folder / f"trial-{number:04d}.{'pictures' if pictures else 'table'}.safetensors"
        return QueuedScores(number, pictures, scores, self.figures(number))
