"""Finding: a problem that `kmcl doctor` reports, and what can be done about it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """Something in a store or a cluster that is not as it should be.

    Attributes:
        problem: what it is.
        remedy: what puts it right.
        fix: puts it right; None: only the user can, or the next `kmcl search` will.
        deletes: every file and folder that `fix` deletes.
    """

    problem: str
    remedy: str
    fix: Callable[[], None] | None = None
    deletes: tuple[Path, ...] = ()
