"""Faults and remarks about a table, as the commands of datasets print them. Heavy imports are inside."""

from collections.abc import Iterable
from typing import Any

import click

from kmcl_platform.messages import bound_line

_EXAMPLES = 5
"""Faults of each kind that are shown."""


def print_faults(faults: Iterable[Any]) -> None:
    """Print faults by kind, each kind with its count and its first examples."""
    from kmcl_platform.data.manifest.table_errors import group_faults

    for kind, group in group_faults(faults).items():
        click.echo(f"{kind}: {len(group)}")
        for fault in group[:_EXAMPLES]:
            click.echo(bound_line(f"  {fault}"))
        if len(group) > _EXAMPLES:
            click.echo(f"  … and {len(group) - _EXAMPLES} more")
