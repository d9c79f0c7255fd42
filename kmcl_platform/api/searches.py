"""Run searches, or the base of one alone."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.table import Table

from kmcl_platform.api.store import AnyStore, Store, as_store
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.files.given_path import as_path
from kmcl_platform.shown import Shown

if TYPE_CHECKING:
    import pandas as pd

    from kmcl_platform.search.run.running_search import SearchSummary

AnyFile = SearchFile | str | PathLike[str]
"""A search: an object, or the path of a search file."""


@dataclass(frozen=True)
class SearchResult(Shown):
    """The searches of one call: one, or one for each arm, and those that trained their best trials again.

    Attributes:
        store: where they are.
        summaries: how each ended, in their order; an interrupted one is the last.
    """

    store: Store
    summaries: tuple["SearchSummary", ...]

    @property
    def names(self) -> list[str]:
        """The names of the searches: one, or one for each arm."""
        return [one.search for one in self.summaries if not one.retrains]

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C or SIGTERM ended the last one."""
        return any(one.interrupted for one in self.summaries)

    def has_completed(self, name: str) -> bool:
        """Whether a trial of one of these searches has reached its last epoch, so that a model can be promoted."""
        return any(row.rank == 1 for row in self.store.leaderboard(name).board.rows)

    @property
    def trials(self) -> "pd.DataFrame":
        """The trials of all these searches, as `Store.trials`; with arms, the first column is the search."""
        import pandas as pd

        tables = {name: self.store.trials(name) for name in self.names}
        if len(tables) == 1:
            return tables[self.names[0]]
        return pd.concat(tables, names=["search"]).reset_index("search").reset_index(drop=True)

    def parts(self) -> Iterable[RenderableType]:
        """How each search ended, its leaderboard, and the comparison of the arms."""
        has_finalists = False
        for one in self.summaries:
            if one.interrupted:
                yield f"search {one.search}: stopped; nothing is lost"
                return
            finished = "already finished, nothing left to run" if one.already_finished else "finished"
            yield f"search {one.search}: {finished} ({one.reason})"
            # A trial that was trained again is shown in the verdict, or among the finalists.
            if not one.retrains:
                board = self.store.leaderboard(one.search)
                has_finalists |= board.finalists is not None
                yield from board.parts()
            if one.seconds:
                phases = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in one.seconds.items())
                yield f"took {sum(one.seconds.values()):.0f} s: {phases}"
        if len(self.names) > 1:
            yield self._arms()
        retrained = {one.retrains: one.search for one in self.summaries if one.retrains}
        if retrained and not has_finalists:
            from kmcl_platform.tracking.comparison.arms import compare_retrained

            yield from (f"verdict: {comparison}" for comparison in compare_retrained(self.store, retrained))

    def _arms(self) -> Table:
        """The searches of a file's arms, in the file's order."""
        boards = [self.store.leaderboard(name).board for name in self.names]
        table = Table("arm", f"best {boards[0].metric}", "finished trials", box=None)
        for board in boards:
            best = next((row.objective for row in board.rows if row.rank == 1), None)
            completed = sum(row.outcome == "completed" for row in board.rows)
            table.add_row(board.search, "undefined" if best is None else f"{best:.4f}", str(completed))
        return table


class SearchInterrupted(KeyboardInterrupt):
    """Ctrl-C, an interrupted notebook or SIGTERM has ended a search in good order; the same call continues it.

    It is raised and not returned, so that a program or a notebook does not go on with its next step.

    Attributes:
        result: the searches so far.
    """

    def __init__(self, result: SearchResult) -> None:
        super().__init__(f"search {result.summaries[-1].search}: stopped; nothing is lost. The same call continues it")
        self.result = result

    def _render_traceback_(self) -> list[str]:
        # A notebook shows this line instead of the traceback.
        return [str(self)]


def search(
    file: AnyFile,
    *,
    store: AnyStore = None,
    inline: bool = False,
    address: str | None = None,
    allow_changed_plugins: bool = False,
    extend: bool = False,
    console: Console | None = None,
) -> SearchResult:
    """Run a search, or continue it if the store already knows it.

    Args:
        file: the search, or the path of its file.
        store: where everything is kept.
        inline: train in this process, one trial after the other, without Ray.
        address: a running Ray cluster (`auto`, `HOST:PORT`). None: start Ray on this machine, on loopback.
        allow_changed_plugins: go on with the code that plug-ins have now; trials that have begun keep theirs.
        extend: go on with the space of the file, whose ranges may be others, and which may have new paths.
        console: where progress is shown. None: the terminal or the notebook.

    Raises:
        SearchInterrupted: it was stopped, by Ctrl-C for example.
        KmclError: the file, the data or the machine does not allow it; see `errors.py` for the kinds.
    """
    from kmcl_platform.search.run.run_search import run_search
    from kmcl_platform.search.study.definition import Allowed

    allowed = Allowed(plugins=allow_changed_plugins, space=extend)
    return _run(run_search, as_source(file), store, console, inline=inline, address=address, allowed=allowed)


def resume(
    search: str,
    *,
    store: AnyStore = None,
    inline: bool = False,
    address: str | None = None,
    allow_changed_plugins: bool = False,
    console: Console | None = None,
) -> SearchResult:
    """Continue a search of the store, by its name, with the file in its record; arguments as for `search`."""
    from kmcl_platform.search.run.run_search import resume_search
    from kmcl_platform.search.study.definition import Allowed

    allowed = Allowed(plugins=allow_changed_plugins)
    return _run(resume_search, search, store, console, inline=inline, address=address, allowed=allowed)


def train(
    file: AnyFile,
    *,
    values: AnyFile | None = None,
    store: AnyStore = None,
    inline: bool = False,
    address: str | None = None,
    console: Console | None = None,
) -> SearchResult:
    """Train the base of a search alone, as a search with one trial; other arguments as for `search`.

    Args:
        file: the search, without arms.
        values: another one, whose base is trained instead.
    """
    from kmcl_platform.search.run.run_search import train_base

    other = None if values is None else as_source(values)
    return _run(train_base, as_source(file), store, console, values=other, inline=inline, address=address)


def as_source(file: AnyFile) -> SearchFile | Path:
    """A search as the platform's own functions take it.

    Raises:
        ConfigError: it is something else.
    """
    return file if isinstance(file, SearchFile) else as_path(file, "file", "a SearchFile, or the path of a search file")


def new_console() -> Console:
    """The place where progress is shown: this terminal, or the output of a notebook's cell."""
    from kmcl_platform.search.run.notebook_console import NotebookConsole

    console = Console()
    return NotebookConsole() if console.is_jupyter else console


def _run(
    run: Callable[..., "list[SearchSummary]"], what: object, store: AnyStore, console: Console | None, **options: Any
) -> SearchResult:
    places = as_store(store)
    result = SearchResult(places, tuple(run(what, places, console or new_console(), **options)))
    if result.interrupted:
        raise SearchInterrupted(result)
    return result
