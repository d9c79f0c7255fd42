"""Pretrained weights are loaded before anything starts, so that missing ones do not fail every trial."""

from hashlib import file_digest
from itertools import product
from pathlib import Path

from kmcl_platform.config.arms import expand_arms
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.trial_config import ModelConfig, Scalar

WEIGHTS_PATHS = ("model.backbone", "model.pretrained", "model.pretrained_file")
"""The paths that decide which pretrained weights a trial starts from."""


def check_weights(file: SearchFile) -> None:
    """Load all pretrained weights that trials of a file may start from; those of a hub are then in its local cache.

    Raises:
        ConfigError: timm does not know a backbone.
        WeightsError: some weights cannot be loaded.
    """
    wanted = [model for model in _networks(file) if model.pretrained or model.pretrained_file is not None]
    if wanted:
        # Imports torch, which a driver without such weights does not need.
        from kmcl_platform.training.build import build_backbone

        for model in wanted:
            build_backbone(model)


def digest_weights(file: SearchFile) -> dict[str, str]:
    """The SHA-256 of each local file of weights that trials of a file may start from, by its path in the file.

    Call it after `check_weights`, which reports a file that cannot be read.
    """
    digests: dict[str, str] = {}
    for model in _networks(file):
        path = model.pretrained_file
        if path is not None and path not in digests:
            with Path(path).expanduser().open("rb") as content:
                digests[path] = file_digest(content, "sha256").hexdigest()
    return digests


def _networks(file: SearchFile) -> list[ModelConfig]:
    """Every combination of backbone and weights that trials may have, once each."""
    # A dictionary as an ordered set: weights are loaded in the file's order.
    found: dict[ModelConfig, None] = {}
    for search in expand_arms(file):
        searched = [path for path in WEIGHTS_PATHS if path in search.space]
        for edges in product(*(search.space[path].edges() for path in searched)):
            config = search.base.with_values(_possible(search, dict(zip(searched, edges, strict=True))))
            # All other values of the model are left at their defaults, so that trials with equal weights are one entry.
            network = config.model.model_dump(include={path.removeprefix("model.") for path in WEIGHTS_PATHS})
            found[ModelConfig.model_validate(network)] = None
    return list(found)


def _possible(search: SearchFile, values: dict[str, Scalar]) -> dict[str, Scalar]:
    """The values whose conditions hold. Conditions on other paths count as true: some trial may meet them."""
    known = {path: search.base.value(path) for path in WEIGHTS_PATHS} | values
    return {
        path: value
        for path, value in values.items()
        if all(known[name] == wanted for name, wanted in search.space[path].when.items() if name in known)
    }
