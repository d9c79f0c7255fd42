"""The files that trials read are read before anything starts: weights and features. A wrong one then fails no trial."""

from hashlib import file_digest
from itertools import product
from pathlib import Path

from kmcl_platform.config.arms import expand_arms
from kmcl_platform.config.first_trials import list_baselines
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.data.loading.own_features import digest_own_features, read_own_features
from kmcl_platform.data.manifest.manifest import Manifest

WEIGHTS_PATHS = ("model.backbone", "model.pretrained", "model.pretrained_file", "data.image_size")
"""The paths that decide which pretrained weights a trial starts from, and their form."""

_FEATURES, _TYPE = "data.features", "model.feature_dtype"


def check_weights(file: SearchFile) -> None:
    """Load all pretrained weights that trials of a file may start from; those of a hub are then in its local cache.

    Raises:
        ConfigError: a backbone is not known, or cannot take images of a size.
        WeightsError: some weights cannot be loaded.
    """
    wanted = [one for one in possible_networks(file) if one.model.pretrained or one.model.pretrained_file is not None]
    if wanted:
        # Imports torch, which a driver without such weights does not need.
        from kmcl_platform.training.build import build_backbone

        for config in wanted:
            build_backbone(config)


def digest_weights(file: SearchFile) -> dict[str, str]:
    """The SHA-256 of each local file of weights that trials of a file may start from, by its path in the file.

    Call it after `check_weights`, which reports a file that cannot be read.
    """
    digests: dict[str, str] = {}
    for config in possible_networks(file):
        path = config.model.pretrained_file
        if path is not None and path not in digests:
            with Path(path).expanduser().open("rb") as content:
                digests[path] = file_digest(content, "sha256").hexdigest()
    return digests


def check_features(file: SearchFile, manifest: Manifest) -> None:
    """Read and check all own features that trials of a file may use.

    Raises:
        DataError: as `read_own_features`.
    """
    for features, dtype in product(_possible(file, _FEATURES), _possible(file, _TYPE)):
        read_own_features(features, manifest, dtype)


def digest_features(file: SearchFile) -> dict[str, str]:
    """The digest of each file of own features that trials of a file may use, by its path in the file.

    Raises:
        DataError: a file cannot be read.
    """
    return {features: digest_own_features(features) for features in _possible(file, _FEATURES)}


def possible_networks(file: SearchFile, paths: tuple[str, ...] = WEIGHTS_PATHS) -> list[TrialConfig]:
    """A trial with each combination of the values of these paths that trials of a file may have."""
    # A dictionary as an ordered set: weights are loaded in the file's order.
    found: dict[tuple[Scalar, ...], TrialConfig] = {}
    for search in expand_arms(file):
        searched = [path for path in paths if path in search.space]
        for edges in product(*(search.space[path].edges() for path in searched)):
            config = search.base.with_values(_active(search, dict(zip(searched, edges, strict=True))))
            found.setdefault(tuple(config.value(path) for path in paths), config)
        for baseline in list_baselines(search):
            config = search.base.with_values(baseline.values)
            found.setdefault(tuple(config.value(path) for path in paths), config)
    return list(found.values())


def _active(search: SearchFile, values: dict[str, Scalar]) -> dict[str, Scalar]:
    """The values whose conditions hold. Conditions on other paths count as true: some trial may meet them."""
    known = {path: search.base.value(path) for path in values} | values
    return {
        path: value
        for path, value in values.items()
        if all(known[name] == wanted for name, wanted in search.space[path].when.items() if name in known)
    }


def _possible(file: SearchFile, path: str) -> list[str]:
    """Every value of a path that trials may have, in the order of the file; without null."""
    found: dict[Scalar, None] = {}
    for search in expand_arms(file):
        found[search.base.value(path)] = None
        if path in search.space:
            found |= dict.fromkeys(search.space[path].edges())
        found |= dict.fromkeys(one.values[path] for one in list_baselines(search) if path in one.values)
    return [str(value) for value in found if value is not None]
