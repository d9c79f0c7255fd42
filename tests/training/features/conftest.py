"""What most tests of frozen backbones begin with."""

from pathlib import Path

import pytest

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest
from tests.training.features.frozen import write_weights


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of the small backbone."""
    return write_weights(tmp_path / "weights.safetensors")


@pytest.fixture(scope="module")
def manifest(small_manifest: Path) -> Manifest:
    """The small digits."""
    return read_manifest(small_manifest)
