"""Fixtures of the tests of packing."""

from pathlib import Path

import pytest

from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.pack.write_shards import pack
from kmcl_platform.data.progress import silent
from kmcl_platform.data.storage.location import parse_location
from tests.data.pack.packings import SHARD_BYTES


@pytest.fixture(scope="session")
def digits() -> Manifest:
    """Mosaics of digits, encoded in the manifest itself."""
    return build_digits(num_train=100, num_val=30, num_test=9)


@pytest.fixture
def packed(digits: Manifest, tmp_path: Path) -> Manifest:
    """The digits, packed into the folder `out`, with row groups of 8 images."""
    pack(digits, parse_location(tmp_path / "out"), shard_bytes=SHARD_BYTES, group_images=8, progress=silent)
    return open_manifest(str(tmp_path / "out" / "manifest.parquet"), tmp_path)
