"""A packing that fails or is refused does not change the folder."""

import os
from pathlib import Path

import pytest

from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from kmcl_platform.data.manifest.table_errors import FaultyTable
from kmcl_platform.data.pack.write_shards import pack
from kmcl_platform.data.progress import silent
from kmcl_platform.data.storage.location import parse_location
from kmcl_platform.errors import DataError
from tests.data.pack.packings import SHARD_BYTES, as_files, content, shard_files


@pytest.mark.parametrize("rival", ["whole", "unreadable"])
def test_a_failed_packing_leaves_the_shards_of_another_one(rival: str, digits: Manifest, tmp_path: Path) -> None:
    """Two processes pack the same images into one folder: their shards have the same names."""
    out = parse_location(tmp_path / "out")

    def fail_late(what: str, done: int, total: int) -> None:
        if done == total:
            pack(digits, out, shard_bytes=SHARD_BYTES, group_images=8, progress=silent)
            if rival == "unreadable":
                (tmp_path / "out" / "manifest.parquet").write_bytes(b"damaged")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(digits, out, shard_bytes=SHARD_BYTES, group_images=8, progress=fail_late)
    assert len(shard_files(tmp_path / "out")) > 3
    if rival == "whole":
        packed = open_manifest(str(tmp_path / "out" / "manifest.parquet"), tmp_path)
        assert content(packed) == content(digits)


def test_faults_name_each_image_and_leave_nothing(digits: Manifest, tmp_path: Path) -> None:
    files = as_files(digits, tmp_path / "images")
    (tmp_path / "images" / "3.png").unlink()
    (tmp_path / "images" / "7.png").unlink()
    with pytest.raises(FaultyTable) as caught:
        pack(files, parse_location(tmp_path / "out" / "deep"), progress=silent)
    assert [fault.row for fault in caught.value.faults] == [3, 7]
    assert str(caught.value).startswith(
        f"manifest 'files': row 3, column 'image': got '{tmp_path}/images/3.png': cannot be read (No such file or directory)"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", ["folder", "empty"])
def test_a_fault_in_the_middle_leaves_nothing(fault: str, digits: Manifest, tmp_path: Path) -> None:
    files = as_files(digits, tmp_path / "images")
    # The image is in the last split, so other shards have been written before it is read.
    bad = tmp_path / "images" / "138.png"
    bad.unlink()
    bad.mkdir() if fault == "folder" else bad.touch()
    with pytest.raises(FaultyTable, match="^manifest 'files': row 138, column 'image': got .*138.png"):
        pack(files, parse_location(tmp_path / "out"), shard_bytes=SHARD_BYTES, group_images=8, progress=silent)
    assert not (tmp_path / "out").exists()


def test_an_interrupt_leaves_nothing_and_a_folder_its_own_files(digits: Manifest, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")

    def interrupt(what: str, done: int, total: int) -> None:
        if done > 104:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(digits, parse_location(tmp_path / "out"), shard_bytes=SHARD_BYTES, group_images=8, progress=interrupt)
    assert os.listdir(tmp_path / "out") == ["mine.txt"]


def test_a_packing_that_was_finished_meanwhile_stays(digits: Manifest, tmp_path: Path) -> None:
    """Without --overwrite, the manifest of another process used to be replaced, and its shards were left over."""
    out = parse_location(tmp_path / "out")

    def finish_another(what: str, done: int, total: int) -> None:
        if done == total:
            pack(digits, out, seed=1, progress=silent)

    with pytest.raises(
        DataError, match=f"^{tmp_path}/out/manifest.parquet: exists; valid: a new folder, or --overwrite$"
    ):
        pack(digits, out, progress=finish_another)
    packing = read_manifest(tmp_path / "out" / "manifest.parquet").packing
    assert packing is not None
    assert sorted(os.listdir(tmp_path / "out")) == sorted([*packing.shards, "manifest.parquet"])


def test_shards_of_every_packing_that_was_replaced_are_removed(digits: Manifest, tmp_path: Path) -> None:
    """With --overwrite, a packing that another process finished meanwhile is replaced with its shards."""
    out = parse_location(tmp_path / "out")

    def finish_another(what: str, done: int, total: int) -> None:
        if done == total:
            pack(digits, out, seed=1, progress=silent)

    packing = pack(digits, out, overwrite=True, progress=finish_another).packing
    assert packing is not None
    assert sorted(os.listdir(tmp_path / "out")) == sorted([*packing.shards, "manifest.parquet"])


def test_a_folder_whose_name_is_not_utf8_is_refused(digits: Manifest, tmp_path: Path) -> None:
    """Arrow accepts only names in UTF-8. The command used to end with a traceback."""
    with pytest.raises(DataError) as caught:
        pack(digits, parse_location(tmp_path / os.fsdecode(b"caf\xe9")), progress=silent)
    assert str(caught.value) == (
        f"{tmp_path}/caf\\xe9/manifest.parquet: got a name that is not UTF-8; valid: a path in UTF-8"
    )
    assert os.listdir(tmp_path) == []


def test_only_overwrite_replaces_a_packing(digits: Manifest, packed: Manifest, tmp_path: Path) -> None:
    out = parse_location(tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(DataError) as caught:
        pack(digits, out, progress=silent)
    assert str(caught.value) == f"{tmp_path}/out/manifest.parquet: exists; valid: a new folder, or --overwrite"

    def interrupt(what: str, done: int, total: int) -> None:
        if done > 100:
            raise KeyboardInterrupt

    # The old packing stays until the new manifest is written. The names of its shards make no difference.
    for seed in (0, 1):
        options = {"shard_bytes": SHARD_BYTES, "group_images": 8, "seed": seed, "overwrite": True}
        with pytest.raises(KeyboardInterrupt):
            pack(digits, out, progress=interrupt, **options)  # type: ignore[arg-type]
        assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    (tmp_path / "out" / "mine.txt").write_text("mine")
    made = pack(digits, out, seed=1, overwrite=True, progress=silent)
    assert made.packing is not None
    assert set(os.listdir(tmp_path / "out")) == {*made.packing.shards, "manifest.parquet", "mine.txt"}
    assert content(made) == content(digits)


def test_a_manifest_that_is_not_packed_is_not_overwritten(digits: Manifest, tmp_path: Path) -> None:
    write_manifest(digits, tmp_path / "manifest.parquet")
    with pytest.raises(DataError, match="is not of a packed dataset; valid: another folder$"):
        pack(digits, parse_location(tmp_path), overwrite=True, progress=silent)


def test_a_target_that_is_a_file_is_refused(digits: Manifest, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match=f"^{tmp_path}/out.*: cannot be "):
        pack(digits, parse_location(tmp_path / "out"), progress=silent)
