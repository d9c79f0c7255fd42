"""The files that a search reads: a search does not continue after one of them got another content."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import optuna

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.errors import SearchError
from kmcl_platform.messages import show_value

DATA, WEIGHTS, FEATURES = "data", "weights", "features"
"""Attributes of the study: the content hashes of the files that it was begun with."""


@dataclass(frozen=True)
class Inputs:
    """The content of the files that a search reads. The search file has only their paths.

    Attributes:
        data: content hash of the manifest; empty: not compared with that of the earlier trials.
        weights: SHA-256 of each file of pretrained weights, by the path in the search file. A file that is not in it is
            not compared.
        features: the digest of each file of the user's own features, in the same way.
    """

    data: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, str] = field(default_factory=dict)


def check_same_inputs(study: optuna.Study, file: SearchFile, inputs: Inputs) -> None:
    """Refuse to continue a study with other data, weights or features, because the results could not be compared.

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
    for attribute, name, digests in (
        (WEIGHTS, "model.pretrained_file", inputs.weights),
        (FEATURES, "data.features", inputs.features),
    ):
        known: dict[str, str] = study.user_attrs.get(attribute, {})
        for path, digest in digests.items():
            if known.get(path, digest) != digest:
                raise _changed(file, name, path, digest, known[path], "restore that file")
        if new := digests.keys() - known.keys():
            study.set_user_attr(attribute, known | {path: digests[path] for path in sorted(new)})


def _changed(file: SearchFile, field: str, path: str, now: str, before: str, remedy: str) -> SearchError:
    return SearchError(
        f"{field}: got {show_value(path)} with content hash {now[:12]}…; valid: {before[:12]}…, the content that "
        f"search {file.name!r} was begun with ({remedy}, or give another name in the search file)"
    )
