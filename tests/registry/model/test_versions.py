"""The files of a registered version are compared with its tags."""

from pathlib import Path

import pytest
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag

from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.model.schema import WEIGHTS
from kmcl_platform.registry.model.versions import PACKAGED_MODEL, WEIGHTS_TAG, check_weights, hash_file


def test_weights_are_compared_by_their_whole_hash(tmp_path: Path) -> None:
    weights = tmp_path / PACKAGED_MODEL / WEIGHTS
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    digest = hash_file(weights)
    check_weights(tmp_path, ModelVersion("digits", "1", 0, tags=[ModelVersionTag(WEIGHTS_TAG, digest)]))
    other = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    with pytest.raises(RegistryError, match=f"got SHA-256 {digest}; valid: SHA-256 {other}, as version 1 of 'digits'"):
        check_weights(tmp_path, ModelVersion("digits", "1", 0, tags=[ModelVersionTag(WEIGHTS_TAG, other)]))
