"""Reading what was packed into a folder."""

import json
import pickle
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.data.check.check import check_manifest
from kmcl_platform.data.loading.dataset import ImageDataset, UnreadableImage
from kmcl_platform.data.loading.loader import build_loader
from kmcl_platform.data.loading.samplers import ShardedSequence
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.parquet import METADATA_KEY, read_manifest
from kmcl_platform.data.progress import silent
from kmcl_platform.data.storage.shard_reader import ShardReader
from kmcl_platform.errors import DataError
from tests.data.fixtures import complaint_of
from tests.data.pack.packings import TRANSFORM, content, shard_files


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
    # A damaged shard is not a corrupt image, because that would be skipped.
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


def test_a_good_folder_has_no_faults(packed: Manifest, tmp_path: Path) -> None:
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


def test_row_groups_are_read_once_in_order(packed: Manifest) -> None:
    assert packed.packing is not None
    reader = ShardReader(packed.packing)
    for image in packed.split("train")["image"].to_pylist():
        reader.read(image)
    assert reader.num_group_reads == 13
