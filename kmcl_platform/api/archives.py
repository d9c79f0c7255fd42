"""Archives of learning curves: write one from searches, and simulate searches with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmcl_platform.api.pages import check_new
from kmcl_platform.api.searches import AnyFile, as_source
from kmcl_platform.api.store import AnyStore, as_store
from kmcl_platform.errors import DataError
from kmcl_platform.files.given_path import AnyPath, as_path, as_paths
from kmcl_platform.messages import show_path, show_value

if TYPE_CHECKING:
    import pandas as pd

    from kmcl_platform.search.replay.replay import Replay

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Archive:
    """A file with the learning curves of finished searches.

    Attributes:
        path: the Parquet file.
        trials: number of trials.
        left_out: for each search with trials that have not ended, their number: the archive does not have them.
        rows: number of rows, one for each epoch of a trial.
    """

    path: Path
    trials: int
    rows: int
    left_out: dict[str, int] = field(default_factory=dict)

    def read(self) -> "pd.DataFrame":
        """The rows; docs/archive.md describes the columns."""
        from kmcl_platform.tracking.archive.archive_file import read_archive

        return read_archive(self.path).to_pandas()


def archive(
    searches: str | Sequence[str],
    to: AnyPath,
    *,
    join: Sequence[AnyPath] = (),
    store: AnyStore = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Archive:
    """Write the trials of searches with all their epochs into one Parquet file. Trials that run are left out.

    Args:
        searches: the names of searches in the store; none is possible with `join`.
        to: the archive, `*.parquet`.
        join: further archives, whose trials are taken too.
        store: where the searches are.
        overwrite: replace an archive that exists.
        progress: is called with the work's name, the trials that are done, and all.

    Raises:
        SearchError: there is no such store or search.
        DataError: an archive cannot be joined, or the file cannot be written.
    """
    from kmcl_platform.tracking.archive.archive_file import join_archives, read_archive, write_archive
    from kmcl_platform.tracking.archive.collect import archive_searches

    names, path = _as_names(searches), as_path(to, "to")
    check_new(path, overwrite=overwrite)
    if not names and not join:
        raise DataError("names: got none; valid: the names of searches, or --join with the path of an archive")
    # The files first: they are read in a moment, and a mistake in one of them is seen before the store is read.
    tables = [read_archive(one) for one in as_paths(join, "join")]
    left_out: dict[str, int] = {}
    if names:
        tables.insert(0, archive_searches(as_store(store), names, progress or _silent, left_out.__setitem__))
    table = join_archives(tables, ", ".join([*names, *map(show_path, as_paths(join, "join"))]))
    write_archive(table, path)
    trials = {tuple(row.values()) for row in table.select(["store", "search", "trial"]).to_pylist()}
    return Archive(path, len(trials), table.num_rows, left_out)


def replay(
    file: AnyFile,
    archives: AnyPath | Sequence[AnyPath],
    *,
    searches: int = 200,
    compare: Sequence[str] = (),
    at_once: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> "Replay":
    """Simulate searches of a file with the learning curves of archives; nothing is trained.

    Args:
        file: the search, without arms.
        archives: files of `archive`, with trials of this space.
        searches: simulated searches of each setting.
        compare: other settings beside the file's, each a YAML mapping such as `{sampler: {kind: random}}`.
        at_once: trials at the same time. None: as on this machine.
        seed: of the simulation.
        progress: is called with the name of a setting, its searches that are done, and all.

    Raises:
        ConfigError: the file or a setting is not valid.
        DataError: an archive is not valid, or is not of this search.
    """
    from kmcl_platform.search.replay.replay import run_replay

    return run_replay(
        as_source(file),
        as_paths(archives, "archives"),
        searches=searches,
        compare=compare,
        at_once=at_once,
        seed=seed,
        progress=progress,
    )


def _as_names(searches: str | Sequence[str]) -> list[str]:
    # Callers without a type checker may give anything.
    found: list[Any] = [searches] if isinstance(searches, str) or not hasattr(searches, "__iter__") else list(searches)
    if not all(isinstance(name, str) for name in found):
        raise DataError(f"searches: got {show_value(searches)}; valid: the name of a search, or a list of names")
    return found


def _silent(_what: str, _done: int, _total: int) -> None:
    return
