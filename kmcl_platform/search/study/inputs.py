"""The files that a search reads: a search does not continue after one of them got another content."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import optuna

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.errors import SearchError
from kmcl_platform.messages import show_value

DATA, WEIGHTS = "data", "weights"
"""Attributes of the study: the content hashes of the files that it was begun with."""


@dataclass(frozen=True)
class Inputs:
    """The content of the files that a search reads. The search file has only their paths.

    Attributes:
        data: content hash of the manifest; empty: not compared with that of the earlier trials.
        weights: SHA-256 of each file of pretrained weights, by the path in the search file. A file that is not in it is
            not compared.
    """

    data: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)


def check_same_inputs(study: optuna.Study, file: SearchFile, inputs: Inputs) -> None:
    """Refuse to continue a study with other data or weights, because the results could not be compared.

    Args:
        study: of the search. What it does not know yet is stored in it.
        file: the search.
        inputs: the content of the files as it is now.

    Raises:
        SearchError: the content of a file is not the one that the study was begun with.
    """
    if inputs.data:
        before = study.user_attrs.get(DATA)
        if before is None:
            study.set_user_attr(DATA, inputs.data)
        elif before != inputs.data:
            raise _changed(file, "data.source", file.base.data.source, inputs.data, before, "restore that manifest")
    known: dict[str, str] = study.user_attrs.get(WEIGHTS, {})
    for path, digest in inputs.weights.items():
        if known.get(path, digest) != digest:
            raise _changed(file, "model.pretrained_file", path, digest, known[path], "restore that file")
    if new := inputs.weights.keys() - known.keys():
        study.set_user_attr(WEIGHTS, known | {path: inputs.weights[path] for path in sorted(new)})


def _changed(file: SearchFile, field: str, path: str, now: str, before: str, remedy: str) -> SearchError:
    return SearchError(
        f"{field}: got {show_value(path)} with content hash {now[:12]}…; valid: {before[:12]}…, the content that "
        f"search {file.name!r} was begun with ({remedy}, or give another name in the search file)"
    )
