"""A user's own features are read before anything starts, so that features that do not match fail no trial."""

from itertools import product

from kmcl_platform.config.arms import expand_arms
from kmcl_platform.config.search_file import SearchFile, list_baselines
from kmcl_platform.config.trial_config import Scalar
from kmcl_platform.data.loading.own_features import digest_own_features, read_own_features
from kmcl_platform.data.manifest.manifest import Manifest

_FILE, _TYPE = "data.features", "model.feature_dtype"


def check_features(file: SearchFile, manifest: Manifest) -> None:
    """Read and check all own features that trials of a file may use.

    Raises:
        DataError: as `read_own_features`.
    """
    for features, dtype in product(_possible(file, _FILE), _possible(file, _TYPE)):
        read_own_features(features, manifest, dtype)


def digest_features(file: SearchFile) -> dict[str, str]:
    """The digest of each file of own features that trials of a file may use, by its path in the file.

    Raises:
        DataError: a file cannot be read.
    """
    return {features: digest_own_features(features) for features in _possible(file, _FILE)}


def _possible(file: SearchFile, path: str) -> list[str]:
    """Every value of a path that trials may have, in the order of the file; without null."""
    found: dict[Scalar, None] = {}
    for search in expand_arms(file):
        found[search.base.value(path)] = None
        if path in search.space:
            found |= dict.fromkeys(search.space[path].edges())
        found |= dict.fromkeys(one.values[path] for one in list_baselines(search) if path in one.values)
    return [str(value) for value in found if value is not None]
