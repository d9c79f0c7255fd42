"""What the report says about a space that has changed while its search went on."""

import json
from collections.abc import Iterable, Mapping
from typing import Any


def describe_space_changes(changes: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence for each change.

    Args:
        changes: the study's attribute `SPACE_CHANGES`.
    """
    return [
        f"After {change['trials']} trials the space changed: "
        + ", ".join(f"{line} from {_show(before)} to {_show(now)}" for line, (before, now) in change["changed"].items())
        + ". All trials stay in the ranking; the sampler sees those that lie in the space of today."
        for change in changes
    ]


def _show(text: str | None) -> str:
    if text is None:
        return "nothing"
    value = json.loads(text)
    return f"{value:g}" if isinstance(value, float) else str(value)
