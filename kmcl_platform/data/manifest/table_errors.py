"""Faults: what is wrong with a table, each with its row and column, collected rather than raised one by one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kmcl_platform.errors import DataError
from kmcl_platform.messages import bound_line, count_of


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a table."""

    kind: str
    """A few words that faults of one sort share, such as `missing image`."""
    message: str
    """The value got and what would be valid, in one line."""
    row: int | None = None
    """Row of the table, from 0; None: the fault is not of one row."""
    column: str | None = None
    """Column or class; None: the fault is not of one column."""

    def __str__(self) -> str:
        place = ", ".join(
            part
            for part in (
                None if self.row is None else f"row {self.row}",
                None if self.column is None else f"column {self.column!r}",
            )
            if part
        )
        return f"{place}: {self.message}" if place else self.message


class FaultyTable(DataError):
    """A table has faults. The text shows the first one and the number of the others; `faults` contains all of them."""

    def __init__(self, where: str, faults: Sequence[Fault]) -> None:
        """
        Args:
            where: the table's file.
            faults: one or more.
        """
        others = len(faults) - 1
        more = f" (and {count_of(others, 'more fault')})" if others else ""
        super().__init__(f"{where}: {faults[0]}{more}")
        self.faults = tuple(faults)

    @property
    def lines(self) -> list[str]:
        """All faults by kind, as `describe_faults`."""
        return describe_faults(self.faults)


def check_faults(where: str, faults: Sequence[Fault]) -> None:
    """Raise the faults that were collected.

    Raises:
        FaultyTable: there is a fault.
    """
    if faults:
        raise FaultyTable(where, faults)


_EXAMPLES = 5
"""Faults of each kind that are shown."""


def describe_faults(faults: Iterable[Fault]) -> list[str]:
    """Faults by kind, as lines: each kind with its count and its first examples."""
    lines = []
    for kind, group in group_faults(faults).items():
        lines.append(f"{kind}: {len(group)}")
        lines += [bound_line(f"  {fault}") for fault in group[:_EXAMPLES]]
        if len(group) > _EXAMPLES:
            lines.append(f"  … and {len(group) - _EXAMPLES} more")
    return lines


def group_faults(faults: Iterable[Fault]) -> dict[str, list[Fault]]:
    """Faults by kind, in the order in which the kinds first appear."""
    groups: dict[str, list[Fault]] = {}
    for fault in faults:
        groups.setdefault(fault.kind, []).append(fault)
    return groups
