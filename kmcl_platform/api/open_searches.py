"""Ask and tell: a search for a training loop of your own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from kmcl_platform.api.searches import AnyFile, SearchInterrupted, SearchResult, as_source, new_console
from kmcl_platform.api.store import AnyStore, as_store

if TYPE_CHECKING:
    from kmcl_platform.search.run.own_training import OpenSearch


@contextmanager
def open_search(file: AnyFile, *, store: AnyStore = None, console: Console | None = None) -> "Iterator[OpenSearch]":
    """Open a search, and train its trials with code of your own.

        with open_search(file, store="kmcl_store") as opened:
            for point in opened.ask():
                for epoch in range(1, point.num_epochs + 1):
                    value = train_one_epoch(**point.values)
                    if point.report(epoch, value):
                        break

    The study, early stopping and the record are those of every search. A search that was stopped or killed goes on
    with its open trials. An error of your code leaves its trial open too: call `point.fail(reason)` to end it.

    Args:
        file: the search, or the path of its file. With `base.own` its values have any names; otherwise the paths of a
            trial's own fields are searched, and the data of `data.source` is checked.
        store: where everything is kept.
        console: where progress is shown. None: the terminal or the notebook.

    Raises:
        SearchInterrupted: Ctrl-C ended the block; the record is complete.
        KmclError: the file cannot be used, the search is open elsewhere, or the store cannot be written to.
    """
    from kmcl_platform.search.run.own_training import open_own

    places = as_store(store)
    interrupted = False
    with open_own(as_source(file), places, console or new_console()) as opened:
        try:
            yield opened
        except KeyboardInterrupt:
            interrupted = True
            raise
    if interrupted and opened.summary is not None:
        raise SearchInterrupted(SearchResult(places, (opened.summary,)))
