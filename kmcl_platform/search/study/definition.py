"""The definition of a search: everything in its file that decides what trials compute and how they are chosen."""

import json
from typing import Any

import optuna

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import SearchError
from kmcl_platform.messages import show_value

DEFINITION = "definition"
"""Attribute of the study: the definition that it was begun with."""

DATA = "data"
"""Attribute of the study: the content hash of the manifest that it was begun with."""

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
    before = added_later | before
    # Sorted, so that each start names the same difference.
    for path in sorted(before.keys() | now.keys()):
        if before.get(path) != now.get(path):
            raise SearchError(
                f"search {file.name!r} was begun with {path} = {before.get(path)}, the file now says {now.get(path)}; "
                "valid: the same definition (the budget may grow), or another name in the file"
            )


def check_same_data(study: optuna.Study, file: SearchFile, content_hash: str) -> None:
    """Refuse to continue a study with other data: results on different images or splits cannot be compared.

    The search file has only the name of the manifest, and an import can replace the file of that name.

    Args:
        study: of the search; one without a content hash gets this one.
        file: the search.
        content_hash: of the manifest as it is now; empty: nothing is compared.

    Raises:
        SearchError: the study was begun with another manifest.
    """
    if not content_hash:
        return
    before = study.user_attrs.get(DATA)
    if before is None:
        study.set_user_attr(DATA, content_hash)
    elif before != content_hash:
        raise SearchError(
            f"data.source: got {show_value(file.base.data.source)} with content hash {content_hash[:12]}…; valid: "
            f"{before[:12]}…, the data that search {file.name!r} was begun with (restore that manifest, or give "
            "another name in the search file)"
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
