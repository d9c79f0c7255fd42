"""Before a search starts: compare the checkpoints in the store with the trials of the study.

A trial continues from the checkpoint in its folder. If the study was deleted and the folder was not, trial 3 of a new
search would continue with the weights, reports and schedule of another trial 3.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kmcl_platform.config.store import Store
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import SearchError
from kmcl_platform.messages import show_path, show_value
from kmcl_platform.training.checkpoints.checkpoint_folder import TRIAL, find_continuation

_FOLDER = re.compile(r"trial-(\d+)")


def trial_folders(store: Store, search: str) -> Iterator[tuple[int, Path]]:
    """Number and folder of each trial that has a folder in the store, by name; anything else there is left out."""
    for path in sorted((store.checkpoints / search).glob("trial-*")):
        # Deletions use this list. So it has only names that the platform writes (not `trial-7`), and no link, which may
        # lead anywhere.
        match = _FOLDER.fullmatch(path.name)
        if match and path == store.trial_checkpoints(search, int(match[1])) and path.is_dir() and not path.is_symlink():
            yield int(match[1]), path


def check_checkpoints(store: Store, search: str, configs: Mapping[int, TrialConfig]) -> None:
    """Refuse to start a search if the store has checkpoints that are not of its trials.

    Args:
        store: where the checkpoints are.
        search: the search's name.
        configs: the configuration of each trial of the study, by number.

    Raises:
        SearchError: a folder belongs to no trial of the study, or its checkpoint to a trial with another configuration.
    """
    folder = store.checkpoints / search
    unknown = [path.name for number, path in trial_folders(store, search) if number not in configs]
    if unknown:
        names = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
        if not configs:
            raise SearchError(
                f"{show_path(folder)}: got checkpoints of an earlier search ({names}), which the study does not know; "
                "valid: move or delete that folder, give --study-url of the study they belong to, or another name in "
                "the search file"
            )
        raise SearchError(
            f"{show_path(folder)}: got checkpoints of trials that the study does not know ({names}); valid: the study "
            "they belong to, or move those folders away; kmcl doctor lists them, kmcl doctor --fix deletes them"
        )
    for number, path in trial_folders(store, search):
        checkpoint = find_continuation(path)
        if checkpoint and (difference := find_difference(checkpoint, configs[number])):
            raise SearchError(
                f"{show_path(checkpoint)}: got the checkpoint of another trial {number}, with {difference}; valid: "
                "move or delete that folder, and the trial starts again; or the study it belongs to"
            )


def find_difference(checkpoint: Path, config: TrialConfig) -> str | None:
    """The first value in which a checkpoint's configuration differs from a trial's, in words; None: they are equal.

    A checkpoint that cannot be read differs.
    """
    try:
        # Not read as a `TrialConfig`: that would refuse the values of another version of the platform.
        stored = json.loads((checkpoint / TRIAL).read_bytes())["config"]
        held = _flat(stored)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"a {TRIAL} that cannot be read ({type(error).__name__})"
    # As JSON too, so that both sides have the same types.
    wanted = _flat(config.model_dump(mode="json"))
    # A value that the checkpoint does not have was added to the platform later; its default is what the trial did.
    held = _flat(TrialConfig().model_dump(mode="json")) | held
    # Sorted, so that each start names the same difference.
    for path in sorted(wanted.keys() | held.keys()):
        if path not in wanted:
            continue  # The platform has no such value any more.
        if held.get(path) != wanted[path]:
            return f"{path} = {show_value(held.get(path))} instead of {show_value(wanted[path])}"
    return None


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}.{name}" if prefix else name
        flat |= _flat(value, path) if isinstance(value, dict) else {path: value}
    return flat
