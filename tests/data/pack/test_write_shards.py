"""Packing into a folder, and reading what was packed."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.check.check import check_manifest
from kmcl_platform.data.loading.dataset import ImageDataset, ShardedSequence, UnreadableImage, build_loader
from kmcl_platform.data.loading.transforms import EvalTransform
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.data.manifest.parquet import METADATA_KEY, read_manifest, write_manifest
from kmcl_platform.data.manifest.table_errors import FaultyTable
from kmcl_platform.data.pack.write_shards import pack
from kmcl_platform.data.storage.object_store import parse_location
from kmcl_platform.data.storage.shard_reader import ShardReader
from kmcl_platform.errors import DataError
from tests.data.fixtures import complaint_of

TRANSFORM = EvalTransform(image_size=40)
SHARD_BYTES = 40_000


def silent(what: str, done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def digits() -> Manifest:
    return build_digits(num_train=100, num_val=30, num_test=9)


@pytest.fixture
def packed(digits: Manifest, tmp_path: Path) -> Manifest:
    pack(digits, parse_location(tmp_path / "out"), shard_bytes=SHARD_BYTES, group_images=8, progress=silent)
    return open_manifest(str(tmp_path / "out" / "manifest.parquet"), tmp_path)


def as_files(digits: Manifest, folder: Path) -> Manifest:
    """The same images as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for row, encoded in enumerate(digits.table["bytes"].to_pylist()):
        (folder / f"{row}.png").write_bytes(encoded)
    return build_manifest(
        name="files",
        version="1",
        class_names=digits.class_names,
        splits=digits.table["split"].to_pylist(),
        images=[f"{row}.png" for row in range(digits.table.num_rows)],
        targets=np.concatenate([digits.targets(split) for split in ("train", "val", "test")]),
        root=folder,
    )


def content(manifest: Manifest) -> dict[str, list[tuple[bytes, list[int]]]]:
    """Images with their targets, sorted, split by split."""
    return {
        split: sorted(
            (manifest.encoded_image(split, row), targets_K.tolist())
            for row, targets_K in enumerate(manifest.targets(split))
        )
        for split in ("train", "val", "test")
    }


def shard_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != "manifest.parquet")


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


def test_shards_and_row_groups(digits: Manifest, packed: Manifest, tmp_path: Path) -> None:
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
    # A row group is a mix of its split, not a stretch of it.
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
    # In the last split, so that whole shards are there when it is met.
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


def test_overwrite(digits: Manifest, packed: Manifest, tmp_path: Path) -> None:
    out = parse_location(tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(DataError) as caught:
        pack(digits, out, progress=silent)
    assert str(caught.value) == f"{tmp_path}/out/manifest.parquet: exists; valid: a new folder, or --overwrite"

    def interrupt(what: str, done: int, total: int) -> None:
        if done > 100:
            raise KeyboardInterrupt

    # What stood there stands until the new manifest does, whether its shards have the same names or others.
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


def test_out_that_is_a_file(digits: Manifest, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match=f"^{tmp_path}/out.*: cannot be "):
        pack(digits, parse_location(tmp_path / "out"), progress=silent)


@pytest.mark.parametrize("processes", [0, 2])
def test_evaluation_sees_each_image_once(processes: int, digits: Manifest, packed: Manifest) -> None:
    dataset = ImageDataset(packed, "val", TRANSFORM)
    seen = []
    for rank in range(3):
        sampler = ShardedSequence(len(dataset), rank=rank, world_size=3)
        loader = build_loader(dataset, sampler, batch_size=4, drop_last=False, processes=processes, pin_memory=False)
        seen += [image.numpy().tobytes() for images, _ in loader for image in images]
    plain = ImageDataset(digits, "val", TRANSFORM)
    assert sorted(seen) == sorted(plain[row][0].numpy().tobytes() for row in range(30))


def test_targets_stay_with_their_images(digits: Manifest, packed: Manifest) -> None:
    plain = ImageDataset(digits, "train", TRANSFORM)
    expected = {plain[row][0].numpy().tobytes(): plain[row][1].tolist() for row in range(100)}
    images_B3HW, targets_BK = ImageDataset(packed, "train", TRANSFORM).__getitems__(list(range(100)))
    found = {image.numpy().tobytes(): targets.tolist() for image, targets in zip(images_B3HW, targets_BK, strict=True)}
    assert found == expected


def test_a_dataset_can_be_pickled_after_reading(packed: Manifest) -> None:
    dataset = ImageDataset(packed, "train", TRANSFORM)
    images_B3HW, _ = dataset.__getitems__([0, 99])
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 20_000
    assert torch.equal(pickle.loads(pickled).__getitems__([0, 99])[0], images_B3HW)


def test_a_folder_can_be_moved(packed: Manifest, tmp_path: Path) -> None:
    expected = content(packed)
    (tmp_path / "out").rename(tmp_path / "moved")
    assert content(open_manifest(f"file://{tmp_path}/moved/manifest.parquet", tmp_path)) == expected


def damage(path: Path, kind: str) -> None:
    data = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(data[:-100])
    else:
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


@pytest.mark.parametrize("kind", ["missing", "truncated", "altered"])
@pytest.mark.parametrize("processes", [0, 1])
def test_a_damaged_shard_is_refused_by_name(kind: str, processes: int, packed: Manifest, tmp_path: Path) -> None:
    bad = shard_files(tmp_path / "out")[0]
    damage(bad, kind)
    # Not an image that is corrupt: that would be skipped.
    dataset = ImageDataset(packed, bad.name.partition("-")[0], TRANSFORM)
    loader = build_loader(
        dataset,
        ShardedSequence(len(dataset), rank=0, world_size=1),
        batch_size=9,
        drop_last=False,
        processes=processes,
        pin_memory=False,
    )
    error = complaint_of(loader)
    assert type(error) is UnreadableImage
    text = str(error)
    assert "\n" not in text
    assert text.startswith("manifest 'digits', split 'test', row ")
    reason = {
        "missing": "cannot be read: No such file or directory",
        "truncated": f"size: got {bad.stat().st_size if bad.exists() else 0:,} bytes; valid: ",
        "altered": "row group 0 cannot be read: could not verify page integrity",
    }[kind]
    assert f"{bad}: {reason}" in text
    report = check_manifest(tmp_path / "out" / "manifest.parquet", silent)
    assert "shard" in {fault.kind for fault in report.faults}
    assert any(str(bad) in fault.message for fault in report.faults)


def test_check_of_a_good_folder(packed: Manifest, tmp_path: Path) -> None:
    seen: set[str] = set()
    report = check_manifest(str(tmp_path / "out" / "manifest.parquet"), lambda what, *_: seen.add(what))
    assert not report.faults
    assert seen == {"shards", "images"}


def change_facts(path: Path, change: object) -> None:
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[METADATA_KEY])
    change(facts["shards"], facts)  # type: ignore[operator]
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(facts).encode()}), path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda shards, facts: shards[0].update(sha256="0" * 64), "content hash: got "),
        (lambda shards, facts: shards[0].update(sha256="../../x"), "metadata: 'shards': got "),
        (lambda shards, facts: shards[0].update(name="../x"), "metadata: 'shards': got "),
        (lambda shards, facts: shards[0].update(num_images=2), "column 'image': got "),
        (lambda shards, facts: shards[0].update(group_images=0), "metadata: 'shards': got "),
        (lambda shards, facts: shards[0].pop("name"), "metadata: 'shards': got "),
        (lambda shards, facts: shards.pop(), "column 'image': got "),
        (lambda shards, facts: facts.update(shards=7), "metadata: 'shards': got None"),
    ],
)
def test_a_manifest_with_wrong_shards_is_refused(
    change: object, message: str, packed: Manifest, tmp_path: Path
) -> None:
    path = tmp_path / "out" / "manifest.parquet"
    change_facts(path, change)
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_a_packed_manifest_stays_with_its_shards(packed: Manifest, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"the shards are in {tmp_path}/out; valid: a file in that folder$"):
        write_manifest(packed, tmp_path / "elsewhere.parquet")
    write_manifest(packed, tmp_path / "out" / "copy.parquet")
    assert content(read_manifest(tmp_path / "out" / "copy.parquet")) == content(packed)


def test_row_groups_are_read_once_in_order(packed: Manifest) -> None:
    assert packed.packing is not None
    reader = ShardReader(packed.packing)
    for image in packed.split("train")["image"].to_pylist():
        reader.read(image)
    assert reader.num_group_reads == 13
