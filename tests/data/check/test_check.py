import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmcl_platform.data.check.check import CheckReport, check_manifest
from kmcl_platform.data.check.json_report import to_json
from kmcl_platform.data.manifest.manifest import build_manifest
from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from kmcl_platform.data.manifest.table_errors import Fault
from kmcl_platform.errors import DataError
from tests.data.fixtures import picture

SPLITS = ["train", "train", "train", "val", "val", "test"]
TARGETS = np.array([[1, 0], [0, 1], [1, -1], [1, 0], [0, 1], [1, 1]])


def silent(what: str, done: int, total: int) -> None:
    pass


def write(folder: Path, *, images: list[str] | list[bytes] | None = None) -> Path:
    """A manifest of six images without a fault."""
    names = [f"{number}.png" for number in range(6)]
    for number, name in enumerate(names):
        picture(folder / name, number)
    path = folder / "m.parquet"
    manifest = build_manifest(
        name="m",
        version="1",
        class_names=["cat", "dog"],
        splits=SPLITS,
        images=images or names,
        targets=TARGETS,
        root=folder,
    )
    write_manifest(manifest, path)
    return path


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the table in the file, but not its metadata."""
    table = pq.ParquetFile(path).read()
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), path)


def replaced(column: str, values: list[object], kind: pa.DataType | None = None) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index(column), column, pa.array(values, kind))


def check(path: Path) -> CheckReport:
    return check_manifest(path, silent)


def places(faults: tuple[Fault, ...]) -> list[tuple[str, int | None, str | None]]:
    return [(fault.kind, fault.row, fault.column) for fault in faults]


@pytest.mark.parametrize("encoded", [False, True])
def test_a_good_manifest_has_no_faults(tmp_path: Path, encoded: bool) -> None:
    path = write(tmp_path)
    if encoded:
        path = write(tmp_path, images=[(tmp_path / f"{number}.png").read_bytes() for number in range(6)])
    seen: list[tuple[str, int, int]] = []
    report = check_manifest(path, lambda *step: seen.append(step))
    assert (report.faults, report.warnings, report.num_rows) == ((), (), 6)
    assert report.manifest is not None
    assert seen == [("images", number + 1, 6) for number in range(6)]


def test_one_pass_finds_every_fault(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").write_text("no image")
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "4.png").write_bytes((tmp_path / "0.png").read_bytes())
    frame = pd.DataFrame(
        {"image": [f"{n}.png" for n in range(6)], "split": SPLITS, "cat": TARGETS[:, 0], "dog": TARGETS[:, 1]}
    )
    more = pd.DataFrame(
        {
            "image": ["./0.png", "0.png", None, ""],
            "split": ["train", "test", "dev", None],
            "cat": [7, 0, 0, 0],
            "dog": [0, -2, 0, 0],
        }
    )
    pd.concat([frame, more]).to_parquet(path)
    report = check(path)
    assert set(places(report.faults)) == {
        ("split that is not valid", 8, "split"),
        ("split that is not valid", 9, "split"),
        ("empty cell", 8, "image"),
        ("empty cell", 9, "image"),
        ("targets that are not valid", 6, "cat"),
        ("targets that are not valid", 7, "dog"),
        ("missing image", 1, "image"),
        ("unreadable image", 2, "image"),
        ("unreadable image", 3, "image"),
        ("same content in two splits", 4, "image"),
        ("same image in two splits", 7, "image"),
    }
    assert len(report.faults) == 11
    assert places(report.warnings) == [
        ("same image twice in a split", 6, "image"),
        ("same content with different labels", 4, None),
    ]
    text = "\n".join(map(str, report.faults))
    assert f"row 1, column 'image': got '1.png': no such file ({tmp_path / '1.png'}); valid: an image file" in text
    assert "row 2, column 'image': got '2.png': UnidentifiedImageError: no known image format" in text
    assert "row 4, column 'image': got '4.png' in val, the content that row 0 has in train; valid: one split" in text
    assert "row 6, column 'cat': got 7; valid: -1, 0, 1" in text
    assert all("\n" not in str(fault) for fault in report.faults)
    assert report.manifest is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (replaced("split", ["train"] * 4 + [None, "test"]), [("split that is not valid", 4, "split"), ("empty split", None, None)]),
        (replaced("split", [1, 2, 3, 4, 5, 6]), [("type of a column", None, "split")]),
        (replaced("image", [1, 2, 3, 4, 5, 6]), [("type of a column", None, "image")]),
        (replaced("targets", list("abcdef")), [("type of a column", None, "targets")]),
        (
            replaced("targets", [[1, 0], None, [1], [1, None], [0, 1], [1, 3]], pa.list_(pa.int8())),
            [
                ("targets that are not valid", 1, "targets"),
                ("targets that are not valid", 2, "targets"),
                ("targets that are not valid", 3, "dog"),
                ("targets that are not valid", 5, "dog"),
            ],
        ),
        (lambda table: table.drop_columns(["split"]), [("missing column", None, "split")]),
        (lambda table: table.drop_columns(["image", "targets"]), [("missing column", None, "targets"), ("missing column", None, None)]),
        (lambda table: table.append_column("age", pa.array([1] * 6)), [("unknown column", None, "age")]),
        (lambda table: table.slice(0, 0), [("no rows", None, None), ("empty split", None, None), ("empty split", None, None)]),
        (replaced("image", [f"{number}.png" for number in (1, 0, 2, 3, 4, 5)]), [("content", None, None)]),
    ],
)  # fmt: skip
def test_faults_of_our_own_manifest_files_are_found(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table], expected: list[tuple[str, int | None, str | None]]
) -> None:
    path = write(tmp_path)
    rewrite(path, change)
    assert places(check(path).faults) == expected


@pytest.mark.parametrize("metadata", [None, {b"kmcl": b"{"}])
def test_wrong_metadata_is_a_fault(tmp_path: Path, metadata: dict[bytes, bytes] | None) -> None:
    path = write(tmp_path)
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata(metadata), path)
    assert places(check(path).faults) == [("metadata", None, None)]


@pytest.mark.parametrize("names", [["cat", "cat"], ["cat", ""], []])
def test_wrong_class_names_are_a_fault(tmp_path: Path, names: list[str]) -> None:
    path = write(tmp_path)
    facts = {"name": "m", "version": "1", "class_names": names, "content_hash": "0"}
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata({b"kmcl": json.dumps(facts).encode()}), path)
    assert places(check(path).faults) == [("class names", None, None)]


def test_splits_that_cannot_be_used_are_found(tmp_path: Path) -> None:
    path = write(tmp_path)
    frame = pd.DataFrame({"image": [f"{n}.png" for n in range(6)], "split": SPLITS, "cat": TARGETS[:, 0], "dog": 0})
    frame.to_parquet(path)
    report = check(path)
    assert report.faults == ()
    assert [fault.column for fault in report.warnings] == ["dog"] * 3
    frame.assign(cat=[1, 1, 1, 0, 0, 0]).to_parquet(path)
    report = check(path)
    assert [str(fault) for fault in report.faults] == ["split 'val': got no positive label; valid: one or more"]
    assert "split 'test': got no positive label; valid: one or more" in [str(fault) for fault in report.warnings]
    frame[frame.split != "test"].to_parquet(path)
    assert ("empty split", None, None) in places(check(path).warnings)
    frame[frame.split != "val"].to_parquet(path)
    assert ("empty split", None, None) in places(check(path).faults)


def test_encoded_images_are_checked_too(tmp_path: Path) -> None:
    path = write(tmp_path)
    encoded = [(tmp_path / f"{number}.png").read_bytes() for number in range(6)]
    path = write(tmp_path, images=[encoded[0], encoded[0], encoded[2], encoded[3][:200], encoded[4], encoded[2]])
    report = check(path)
    assert places(report.faults) == [("unreadable image", 3, "bytes"), ("same content in two splits", 5, "bytes")]
    assert places(report.warnings) == [
        ("same content twice in a split", 1, "bytes"),
        ("same content with different labels", 1, None),
        ("same content with different labels", 5, None),
    ]
    assert str(report.warnings[1]) == "row 1: got other labels than row 0, which has the same content: 'cat', 'dog'"


@pytest.mark.parametrize("content", [None, b"no parquet"])
def test_a_file_that_is_not_a_manifest_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "m.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{path}: (no such file|cannot be read as Parquet)"):
        check(path)


def test_json_has_every_fault(tmp_path: Path) -> None:
    path = write(tmp_path)
    for number in range(1, 6):
        (tmp_path / f"{number}.png").unlink()
    document = json.loads(to_json(check(path)))
    assert (document["fit"], document["rows"], document["counts"]) == (False, 6, {"missing image": 5})
    assert [(fault["row"], fault["column"]) for fault in document["faults"]] == [(n, "image") for n in range(1, 6)]
    assert document["splits"]["train"]["positives"] == [2, 1]
    assert document["class_names"] == ["cat", "dog"]
    assert read_manifest(path).class_names == ("cat", "dog")
