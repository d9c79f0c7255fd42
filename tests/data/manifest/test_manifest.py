import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from tests.data.manifest.tables import TARGETS, error_of, make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "pets.parquet"
    write_manifest(make(), path)
    return path


def test_a_manifest_has_its_columns_and_splits() -> None:
    manifest = make()
    assert manifest.table.schema == pa.schema(
        {"split": pa.string(), "image": pa.string(), "targets": pa.list_(pa.int8(), 3)}
    )
    assert manifest.split("train")["image"].to_pylist() == ["a.png", "b.png"]
    assert manifest.targets("train").dtype == np.int8
    np.testing.assert_array_equal(manifest.targets("train"), TARGETS[:2])
    np.testing.assert_array_equal(manifest.targets("test"), TARGETS[3:])
    assert error_of(manifest.split, "dev") == "manifest 'pets': split: got 'dev'; valid: train, val, test"


def test_a_missing_split_is_empty() -> None:
    manifest = make(splits=["test"] * 4)
    assert manifest.split("train").num_rows == 0
    assert manifest.targets("val").shape == (0, 3)


@pytest.mark.parametrize("images", [["a", "b", "c", "d"], [b"1", b"22", b"\0", b"4"]])
def test_a_written_manifest_is_read_back(tmp_path: Path, images: list[str] | list[bytes]) -> None:
    manifest = make(images=images)
    path = tmp_path / "new" / "folder" / "m.parquet"
    write_manifest(manifest, path)
    read = read_manifest(path)
    assert read.table.equals(manifest.table)
    assert (read.name, read.version, read.class_names) == ("pets", "3", ("cat", "dog", "hen"))
    assert read.content_hash == manifest.content_hash
    assert read.root == path.parent
    assert os.listdir(path.parent) == ["m.parquet"]


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": ["cat", "dog", "fox"]},
        {"splits": ["train", "val", "val", "test"]},
        {"images": ["a.png", "b.png", "c.png", "e.png"]},
        {"images": ["a.pngb", ".png", "c.png", "d.png"]},
        {"images": [b"a.png", b"b.png", b"c.png", b"d.png"]},
        {"targets": TARGETS[::-1]},
    ],
)
def test_the_hash_changes_with_the_content(changes: dict[str, object]) -> None:
    assert make(**changes).content_hash != make().content_hash


def test_the_hash_does_not_depend_on_name_and_parquet_encoding(path: Path) -> None:
    assert make(name="other", version="4").content_hash == make().content_hash
    table = pq.ParquetFile(path).read()
    pq.write_table(table, path, compression="gzip", row_group_size=1, use_dictionary=False)
    assert read_manifest(path).content_hash == make().content_hash


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": TARGETS[:3]}, "targets: got shape (3, 3); valid: (4, 3), rows by classes"),
        ({"targets": TARGETS * 0.5}, "targets: got type float64; valid: whole numbers -1, 0, 1"),
        ({"targets": TARGETS * 300}, "row 0, class 'cat': got 300; valid: -1, 0, 1"),
        ({"images": ["a"]}, "images: got 1 for 4 splits; valid: as many as splits"),
        ({"images": ["a", "", "c", "d"]}, "row 1, column 'image': got nothing; valid: an image"),
        ({"images": ["a", None, "c", "d"]}, "row 1, column 'image': got an empty value; valid: string"),
        ({"class_names": ["cat", "dog", "cat"]}, "class names: got ['cat']; valid: one or more, distinct"),
        ({"splits": ["train", "dev", "val", "test"]}, "row 1, column 'split': got 'dev'; valid: train, val, test"),
        (
            {"splits": [], "images": [], "targets": np.zeros((0, 3), dtype=int)},
            "got no rows; valid: one row for each image",
        ),
    ],
)
def test_wrong_rows_are_refused(changes: dict[str, object], message: str) -> None:
    assert error_of(make, **changes) == f"manifest 'pets': {message}"


def test_images_of_different_types_are_refused() -> None:
    for images in (["a", b"b", 3, "d"], ["a", b"b", "c", "d"], [b"a", "b", b"c", b"d"]):
        assert error_of(make, images=images).endswith("valid: all text, or images all bytes")
