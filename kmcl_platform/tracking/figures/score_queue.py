"""ScoreQueue: validation scores of trials that have ended, on disk until their figures are drawn."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from kmcl_platform.config.store import Store
from kmcl_platform.data.scores_file import VALIDATION_SCORES
from kmcl_platform.files.atomic_write import DRAFT_PREFIX, atomic_file

_NAME = re.compile(r"trial-(\d+)\.(completed|pruned)\.safetensors")


@dataclass(frozen=True)
class QueuedScores:
    """The scores of one trial.

    Attributes:
        number: the trial's number.
        complete: whether it trained to its last epoch. Only its table is made if not, and no picture.
        scores: the file of the scores.
        folder: where its table and pictures will be.
    """

    number: int
    complete: bool
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

    def add(self, number: int, checkpoint: Path | None, *, complete: bool, baseline: bool) -> QueuedScores | None:
        """Copy the scores of a trial's last checkpoint.

        Returns:
            The copy. None: there is no checkpoint, or it has no scores.

        Raises:
            OSError: the scores cannot be copied, for example because the disk is full.
        """
        source = checkpoint / VALIDATION_SCORES if checkpoint else None
        if source is None or not source.exists():
            return None
        queued = self._queued(number, complete)
        self.folder.mkdir(parents=True, exist_ok=True)
        # If the driver is killed between the copies, its successor gets the last report again, and makes both again.
        for target in (queued.scores, self.baseline) if baseline else (queued.scores,):
            with atomic_file(target) as draft:
                shutil.copyfile(source, draft)
        return queued

    def waiting(self) -> list[QueuedScores]:
        """Scores whose figures are not drawn yet, oldest trial first."""
        found = [_NAME.fullmatch(path.name) for path in self.folder.glob("trial-*.safetensors")]
        return sorted(
            (self._queued(int(match[1]), match[2] == "completed") for match in found if match),
            key=lambda queued: queued.number,
        )

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

    def _queued(self, number: int, complete: bool) -> QueuedScores:
        scores = self.folder / f"trial-{number:04d}.{'completed' if complete else 'pruned'}.safetensors"
        return QueuedScores(number, complete, scores, self.figures(number))
