"""The definition of a search: everything in its file that decides what trials compute and how they are chosen."""

import json
from typing import Any

import optuna

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.trial_config import FORMER_FIELDS, TrialConfig
from kmcl_platform.errors import SearchError

DEFINITION = "definition"
"""Attribute of the study: the definition that it was begun with."""

_MAY_CHANGE = ("budget", "verdict", "promotion", "decision")
"""Parts of a search file that no trial's result depends on."""


def check_same_definition(study: optuna.Study, file: SearchFile) -> None:
    """Refuse to continue a study with another search: mixing two spaces would make its ranking meaningless.

    A study without a definition gets that of the file.

    Raises:
        SearchError: the study was begun with another definition; the message names the first difference.
    """
    now = _definition(file)
    before = study.user_attrs.get(DEFINITION)
    if before is None:
        study.set_user_attr(DEFINITION, now)
        return
    # A field that the study does not know was added later; its default is what trials did before.
    added_later = {f"base.{path}": json.dumps(value) for path, value in TrialConfig().flat().items()}
    added_later |= {path: "false" for path in now if path.startswith("space.") and path.endswith(".zero")}
    before = added_later | before
    # A field that was removed since then, and that changed nothing.
    for path, value in FORMER_FIELDS.items():
        if before.get(f"base.{path}") == json.dumps(value):
            del before[f"base.{path}"]
    # Sorted, so that each start names the same difference.
    for path in sorted(before.keys() | now.keys()):
        if before.get(path) != now.get(path):
            raise SearchError(
                f"search {file.name!r} was begun with {path} = {before.get(path, 'nothing')}, the file now says "
                f"{now.get(path, 'nothing')}; "
                "valid: the same definition (the budget may grow), or another name in the file"
            )


def _definition(file: SearchFile) -> dict[str, str]:
    """The definition under dotted paths, each value as JSON."""
    # Of `resources`, only the number of trials at the same time may change: the number of workers and their threads
    # change a trial's numbers.
    dump = file.model_dump(exclude={"resources": {"max_concurrent_trials"}} | dict.fromkeys(_MAY_CHANGE, True))
    definition: dict[str, str] = {}

    def walk(prefix: str, node: Any) -> None:
        if isinstance(node, dict):
            for name, child in node.items():
                walk(f"{prefix}.{name}" if prefix else name, child)
        else:
            # Text compares exactly: in Python, 1, 1.0 and True are equal.
            definition[prefix] = json.dumps(node)

    walk("", dump)
    return definition
