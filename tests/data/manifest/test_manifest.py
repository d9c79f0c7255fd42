import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from kmcl_platform.errors import DataError

TARGETS = np.array([[1, 0, -1], [0, 0, 1], [1, 1, 0], [0, 0, 0]])


def make(**changes: object) -> Manifest:
    arguments: dict[str, object] = {
        "name": "pets",
        "version": "3",
        "class_names": ["cat", "dog", "hen"],
        "splits": ["train", "train", "val", "test"],
        "images": ["a.png", "b.png", "c.png", "d.png"],
        "targets": TARGETS,
    }
    return build_manifest(**(arguments | changes))  # type: ignore[arg-type]


def error_of(call: object, *arguments: object, **keywords: object) -> str:
    with pytest.raises(DataError) as caught:
        call(*arguments, **keywords)  # type: ignore[operator]
    text = str(caught.value)
    assert "\n" not in text
    return text


def rewrite(path: Path, change: object) -> None:
    """Replace the table in a manifest's file, keeping its metadata."""
    table = pq.ParquetFile(path).read()
    metadata = table.schema.metadata
    pq.write_table(change(table).replace_schema_metadata(metadata), path)  # type: ignore[operator]


def replaced(column: str, values: pa.Array) -> object:
    return lambda table: table.set_column(table.column_names.index(column), column, values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "pets.parquet"
    write_manifest(make(), path)
    return path


def test_columns_and_splits() -> None:
    manifest = make()
    assert manifest.table.schema == pa.schema(
        {"split": pa.string(), "image": pa.string(), "targets": pa.list_(pa.int8(), 3)}
    )
    assert manifest.split("train")["image"].to_pylist() == ["a.png", "b.png"]
    assert manifest.targets("train").dtype == np.int8
    np.testing.assert_array_equal(manifest.targets("train"), TARGETS[:2])
    np.testing.assert_array_equal(manifest.targets("test"), TARGETS[3:])
    assert error_of(manifest.split, "dev") == "manifest 'pets': split: got 'dev'; valid: train, val, test"


def test_absent_split_is_empty() -> None:
    manifest = make(splits=["test"] * 4)
    assert manifest.split("train").num_rows == 0
    assert manifest.targets("val").shape == (0, 3)


@pytest.mark.parametrize("images", [["a", "b", "c", "d"], [b"1", b"22", b"\0", b"4"]])
def test_round_trip(tmp_path: Path, images: list[str] | list[bytes]) -> None:
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
def test_hash_follows_content(changes: dict[str, object]) -> None:
    assert make(**changes).content_hash != make().content_hash


def test_hash_ignores_name_and_parquet_encoding(path: Path) -> None:
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
def test_build_errors(changes: dict[str, object], message: str) -> None:
    assert error_of(make, **changes) == f"manifest 'pets': {message}"


def test_build_mixed_images() -> None:
    assert error_of(make, images=["a", b"b", 3, "d"]).endswith("valid: all text, or images all bytes")


def test_read_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.parquet"
    assert error_of(read_manifest, path) == f"{path}: no such file; valid: the path of a manifest (*.parquet)"


def test_read_not_parquet(tmp_path: Path) -> None:
    path = tmp_path / "text.parquet"
    path.write_text("image,split\na.png,train\n")
    assert error_of(read_manifest, path).startswith(f"{path}: cannot be read as Parquet: ")


def test_read_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    assert error_of(read_manifest, path).startswith(f"{path}: cannot be read as Parquet: ")


def test_read_missing_metadata(path: Path) -> None:
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata(None), path)
    assert error_of(read_manifest, path) == (
        f"{path}: metadata: key 'kmcl' (name, version, class names, hash) is missing; "
        "valid: a file made by write_manifest, or one column for each class instead of 'targets'"
    )


@pytest.mark.parametrize("facts", [b"{", b"[]", b'{"name": "pets"}', json.dumps({"name": 1}).encode()])
def test_read_broken_metadata(path: Path, facts: bytes) -> None:
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata({b"kmcl": facts}), path)
    assert error_of(read_manifest, path) == (
        f"{path}: metadata: key 'kmcl': got {facts!r}; valid: JSON with name, version, class_names, content_hash"
    )


def int8_lists(*rows: list[int | None] | None) -> pa.Array:
    return pa.array(rows, pa.list_(pa.int8()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda table: table.drop_columns("image"),
            "columns: got 'split', 'targets'; valid: 'split', either 'image' or 'bytes', and 'targets'",
        ),
        (
            lambda table: table.append_column("bytes", pa.array([b"1"] * 4)),
            "columns: got 'bytes', 'image', 'split', 'targets'; valid: 'split', either 'image' or 'bytes', and 'targets'",
        ),
        (replaced("image", pa.array([1, 2, 3, 4])), "column 'image': got type int64; valid: string"),
        (
            replaced("split", pa.array(["train", "val", None, "test"])),
            "row 2, column 'split': got an empty value; valid: string",
        ),
        (
            replaced("split", pa.array(["train", "val", "test", "valid"])),
            "row 3, column 'split': got 'valid'; valid: train, val, test",
        ),
        (replaced("targets", pa.array(list("abcd"))), "column 'targets': got type string; valid: lists of 3 int8"),
        (
            replaced("targets", int8_lists([0, 0, 0], [0, 0], [0, 0, 0], [0, 0, 0])),
            "row 1, column 'targets': got length 2; valid: 3, one for each class",
        ),
        (
            replaced("targets", int8_lists([0, 0, 0], None, [0, 0, 0], [0, 0, 0])),
            "row 1, column 'targets': got an empty value; valid: lists of 3 int8",
        ),
        (
            replaced("targets", int8_lists([0, 0, 0], [0, 0, 0], [0, None, 0], [0, 0, 0])),
            "column 'targets': got an empty value; valid: -1, 0, 1",
        ),
        (
            replaced("targets", int8_lists([0, 0, 0], [0, 0, 0], [0, 2, 0], [0, 0, 0])),
            "row 2, class 'dog': got 2; valid: -1, 0, 1",
        ),
        (lambda table: table.slice(0, 0), "got no rows; valid: one row for each image"),
    ],
)
def test_read_errors(path: Path, change: object, message: str) -> None:
    rewrite(path, change)
    assert error_of(read_manifest, path) == f"{path}: {message}"


def test_read_hash_mismatch(path: Path) -> None:
    rewrite(path, replaced("image", pa.array(["a.png", "b.png", "c.png", "z.png"])))
    text = error_of(read_manifest, path)
    assert text.startswith(f"{path}: content hash: got ")
    assert f"valid: {make().content_hash[:12]}…" in text


def test_write_refuses_to_move_relative_paths(tmp_path: Path) -> None:
    manifest = make(root=tmp_path / "images")
    text = error_of(write_manifest, manifest, tmp_path / "m.parquet")
    assert text.endswith("(first: 'a.png'); valid: a file in that folder, or absolute paths")
    write_manifest(manifest, tmp_path / "images" / "m.parquet")
    write_manifest(
        make(root=tmp_path / "images", images=list("abcd"), splits=["val"] * 4), tmp_path / "images" / "n.parquet"
    )


def test_write_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    text = error_of(write_manifest, make(), tmp_path / "file" / "m.parquet")
    assert text.endswith("valid: a path in a writable folder")


def pandas_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"image": ["a", "b", "c", "d"], "split": ["train", "train", "val", "test"], "cat": [1, 0, 1, 0]}
    ).assign(dog=[False, False, True, False], hen=np.array([-1, 1, 0, 0], dtype=np.int8))


def test_read_pandas(tmp_path: Path) -> None:
    frame = pandas_frame()
    frame.index = pd.Index([5, 7, 8, 9])
    frame.to_parquet(tmp_path / "mine.parquet")
    manifest = read_manifest(tmp_path / "mine.parquet")
    assert (manifest.name, manifest.class_names, manifest.root) == ("mine", ("cat", "dog", "hen"), tmp_path)
    assert manifest.content_hash == make(images=list("abcd")).content_hash
    np.testing.assert_array_equal(manifest.targets("train"), TARGETS[:2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(cat=[1, 0, 2, 0]), "row 2, class 'cat': got 2; valid: -1, 0, 1"),
        (lambda f: f.assign(cat=[1, 0, 256, 0]), "row 2, class 'cat': got 256; valid: -1, 0, 1"),
        (lambda f: f.assign(cat=list("wxyz")), "column 'cat': got type {}; valid: a class, whole numbers -1, 0, 1"),
        (
            lambda f: f.assign(cat=pd.array([1, None, 0, 0], dtype="Int8")),
            "row 1, column 'cat': got an empty value; valid: -1, 0, 1",
        ),
        (
            lambda f: f.drop(columns="split"),
            "columns: got 'image'; valid: 'split', either 'image' or 'bytes', and one column for each class",
        ),
        (
            lambda f: f.drop(columns=["cat", "dog", "hen"]),
            "class names: got []; valid: one or more, distinct",
        ),
    ],
)
def test_read_pandas_errors(tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "mine.parquet"
    change(pandas_frame()).to_parquet(path)  # type: ignore[operator]
    text = error_of(read_manifest, path)
    assert text in [f"{path}: {message.format(kind)}" for kind in ("string", "large_string")]
