import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from tests.data.manifest.tables import TARGETS, error_of, make, replaced, rewrite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "pets.parquet"
    write_manifest(make(), path)
    return path


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.parquet"
    assert error_of(read_manifest, path) == f"{path}: no such file; valid: the path of a manifest (*.parquet)"


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.parquet"
    path.write_text("image,split\na.png,train\n")
    assert error_of(read_manifest, path).startswith(f"{path}: cannot be read as Parquet: ")


def test_a_truncated_file_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    assert error_of(read_manifest, path).startswith(f"{path}: cannot be read as Parquet: ")


def test_missing_metadata_is_refused(path: Path) -> None:
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata(None), path)
    assert error_of(read_manifest, path) == (
        f"{path}: metadata: key 'kmcl' (name, version, class names, hash) is missing; "
        "valid: a file made by write_manifest, or one column for each class instead of 'targets'"
    )


@pytest.mark.parametrize("facts", [b"{", b"[]", b'{"name": "pets"}', json.dumps({"name": 1}).encode()])
def test_broken_metadata_is_refused(path: Path, facts: bytes) -> None:
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
def test_wrong_columns_and_values_are_refused(path: Path, change: object, message: str) -> None:
    rewrite(path, change)
    assert error_of(read_manifest, path) == f"{path}: {message}"


def test_content_that_does_not_fit_its_hash_is_refused(path: Path) -> None:
    rewrite(path, replaced("image", pa.array(["a.png", "b.png", "c.png", "z.png"])))
    text = error_of(read_manifest, path)
    assert text.startswith(f"{path}: content hash: got ")
    assert f"valid: {make().content_hash[:12]}…" in text


def test_writing_to_another_folder_refuses_relative_paths(tmp_path: Path) -> None:
    manifest = make(root=tmp_path / "images")
    text = error_of(write_manifest, manifest, tmp_path / "m.parquet")
    assert text.endswith("(first: 'a.png'); valid: a file in that folder, or absolute paths")
    write_manifest(manifest, tmp_path / "images" / "m.parquet")
    write_manifest(
        make(root=tmp_path / "images", images=list("abcd"), splits=["val"] * 4), tmp_path / "images" / "n.parquet"
    )


def test_a_path_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    text = error_of(write_manifest, make(), tmp_path / "file" / "m.parquet")
    assert text.endswith("valid: a path in a writable folder")


def pandas_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"image": ["a", "b", "c", "d"], "split": ["train", "train", "val", "test"], "cat": [1, 0, 1, 0]}
    ).assign(dog=[False, False, True, False], hen=np.array([-1, 1, 0, 0], dtype=np.int8))


def test_a_table_from_pandas_is_read(tmp_path: Path) -> None:
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
        (
            lambda f: f.assign(cat=np.array([1, 0, 2**64 - 1, 0], dtype=np.uint64)),
            f"row 2, class 'cat': got {2**63 - 1}; valid: -1, 0, 1",
        ),
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
def test_a_wrong_table_from_pandas_is_refused(tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "mine.parquet"
    change(pandas_frame()).to_parquet(path)  # type: ignore[operator]
    text = error_of(read_manifest, path)
    assert text in [f"{path}: {message.format(kind)}" for kind in ("string", "large_string")]
