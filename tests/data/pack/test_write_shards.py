"""Packing into a folder."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from kmcl_platform.data.pack.write_shards import pack
from kmcl_platform.data.progress import silent
from kmcl_platform.data.storage.location import parse_location
from kmcl_platform.errors import DataError
from tests.data.pack.packings import SHARD_BYTES, as_files, content, shard_files


@pytest.mark.parametrize("form", ["bytes", "files", "packed"])
def test_every_image_keeps_its_bytes_targets_and_split(
    form: str, digits: Manifest, packed: Manifest, tmp_path: Path
) -> None:
    source = {"bytes": digits, "files": as_files(digits, tmp_path / "images"), "packed": packed}[form]
    out = tmp_path / "new" / "deep"
    made = pack(source, parse_location(out), shard_bytes=SHARD_BYTES, group_images=8, progress=silent)
    read = read_manifest(out / "manifest.parquet")
    assert read == made
    assert content(read) == content(digits)
    assert (read.name, read.version, read.class_names) == (source.name, source.version, source.class_names)


def test_shards_and_row_groups_have_the_wanted_sizes(digits: Manifest, packed: Manifest, tmp_path: Path) -> None:
    assert packed.packing is not None
    files = shard_files(tmp_path / "out")
    assert [path.name for path in files] == sorted(packed.packing.shards)
    for split, num_images in (("train", 100), ("val", 30), ("test", 9)):
        own = [path for path in files if path.name.startswith(f"{split}-")]
        assert [path.name[: len(split) + 15] for path in own] == [
            f"{split}-{i:05d}-of-{len(own):05d}" for i in range(len(own))
        ]
        groups = [
            pq.read_metadata(path).row_group(g) for path in own for g in range(pq.read_metadata(path).num_row_groups)
        ]
        assert [group.num_rows for group in groups] == [8] * (num_images // 8) + [num_images % 8]
        assert {group.column(0).compression for group in groups} == {"UNCOMPRESSED"}
    assert len(files) > 4
    assert max(path.stat().st_size for path in files) < SHARD_BYTES + 2000
    # A row group is a random sample of its split, not a range of it.
    order = [digits.split("train")["bytes"].to_pylist().index(packed.encoded_image("train", row)) for row in range(100)]
    assert sorted(order) == list(range(100))
    assert np.abs(np.corrcoef(order, np.arange(100))[0, 1]) < 0.3


def test_the_same_packing_is_the_same_bytes(digits: Manifest, tmp_path: Path) -> None:
    for name in ("a", "b"):
        pack(digits, parse_location(tmp_path / name), shard_bytes=SHARD_BYTES, group_images=8, progress=silent)
    a, b = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert a == b


def test_the_seed_changes_order_and_names(digits: Manifest, tmp_path: Path) -> None:
    one, two = (pack(digits, parse_location(tmp_path / f"{seed}"), seed=seed, progress=silent) for seed in (0, 1))
    assert one.packing is not None and two.packing is not None
    assert not set(one.packing.shards) & set(two.packing.shards)
    assert one.encoded_image("train", 0) != two.encoded_image("train", 0)


def test_progress_counts_images(digits: Manifest, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    pack(digits, parse_location(tmp_path / "out"), progress=lambda *step: seen.append(step))
    assert seen[-1] == ("images", 139, 139)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_a_packed_manifest_stays_with_its_shards(packed: Manifest, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"the shards are in {tmp_path}/out; valid: a file in that folder$"):
        write_manifest(packed, tmp_path / "elsewhere.parquet")
    write_manifest(packed, tmp_path / "out" / "copy.parquet")
    assert content(read_manifest(tmp_path / "out" / "copy.parquet")) == content(packed)
