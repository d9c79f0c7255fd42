"""Plan a search before it is run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType

from kmcl_platform.api.searches import AnyFile, as_source, new_console
from kmcl_platform.api.store import AnyStore, as_store
from kmcl_platform.files.given_path import as_paths
from kmcl_platform.shown import Shown

if TYPE_CHECKING:
    from kmcl_platform.search.plan.plan import SearchPlan


@dataclass(frozen=True)
class Plans(Shown):
    """The plan of a search, or one for each arm.

    Attributes:
        plans: in the file's order.
    """

    plans: tuple["SearchPlan", ...]

    @property
    def refusal(self) -> str:
        """Why the search cannot be run, and which bound to change; empty: it can be run."""
        return next((plan.refusal for plan in self.plans if plan.refusal), "")

    def parts(self) -> Iterable[RenderableType]:
        """The corners of the space, and the forecast."""
        from kmcl_platform.search.plan.plan_table import to_table

        yield from map(to_table, self.plans)

    def to_json(self) -> str:
        """All plans as JSON; times in seconds and hours, sizes in bytes, shares in [0, 1]."""
        from kmcl_platform.search.plan.plan_table import to_json

        return to_json(list(self.plans))


def plan(
    file: AnyFile,
    *,
    store: AnyStore = None,
    steps: int = 8,
    archives: Sequence[str | PathLike[str]] = (),
    address: str | None = None,
    console: Console | None = None,
) -> Plans:
    """Measure the corners of a search's space on real workers, and forecast its time, memory and disk.

    Args:
        file: the search, or the path of its file.
        store: where it will be run; the forecast is kept there.
        steps: timed optimizer steps of each corner.
        archives: files of `archive` with trials of this space: how far the order after an epoch agrees with the end.
        address: as for `search`.
        console: where progress is shown.

    Returns:
        The plans. If the search cannot be run, they have a `refusal`.

    Raises:
        KmclError: the file, the data or the cluster cannot be used, or the search is running.
    """
    from kmcl_platform.search.plan.plan import run_plan

    found = run_plan(
        as_source(file),
        as_store(store),
        console or new_console(),
        num_steps=steps,
        address=address,
        archives=as_paths(archives, "archives"),
    )
    return Plans(tuple(found))
