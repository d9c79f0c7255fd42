"""Cells of a user's own table as spreadsheets and other systems write them."""

import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from kmcl_platform.data.manifest.table_errors import FaultyTable
from kmcl_platform.data.readers.table import read_table
from kmcl_platform.errors import DataError
from tests.data.fixtures import picture, write_csv
from tests.data.readers.rows import rows_of


def faults_of(path: Path, **options: object) -> list[str]:
    with pytest.raises(FaultyTable) as caught:
        read_table(path, **options)  # type: ignore[arg-type]
    return list(map(str, caught.value.faults))


def three(folder: Path, header: list[str], *cells: list[object]) -> Path:
    """A table of images a, b and c in train, val and test, with more columns."""
    rows = [
        [f"{name}.png", split, *row] for name, split, row in zip("abc", ("train", "val", "test"), cells, strict=True)
    ]
    return write_csv(folder / "t.csv", ["image", "split", *header], rows)


@pytest.mark.parametrize(
    ("cell", "target"),
    [("1", 1), ("1.0", 1), ("1,0", 1), ("true", 1), ("TRUE ", 1), (" 0", 0), ("False", 0), ("-0.0", 0), ("-1.00", -1)],
)
def test_targets_are_read_as_programs_write_them(tmp_path: Path, cell: str, target: int) -> None:
    path = three(tmp_path, ["cat", "dog"], [cell, 1], [cell, 1], [cell, 1])
    found = rows_of(read_table(path))["a.png"][1]
    assert found.get("cat", 0) == target


@pytest.mark.parametrize("cell", ["", "nan", "yes", "2", "0.5", "inf", "1 0"])
def test_cells_that_are_not_a_target_are_faults(tmp_path: Path, cell: str) -> None:
    path = three(tmp_path, ["cat"], [1], [cell], [0])
    assert faults_of(path) == [f"row 1, column 'cat': got {cell!r}; valid: 1, 0 or -1"]


def test_missing_values_of_pandas_are_empty_cells(tmp_path: Path) -> None:
    path = three(tmp_path, ["age"], [1], [2], [3])
    frame = pd.read_csv(path).assign(cat=[1.0, 0.0, None], patient=[7.0, 8.0, None])
    frame.to_parquet(tmp_path / "t.parquet")
    assert faults_of(tmp_path / "t.parquet", classes=("cat",), group_column="patient") == [
        "row 2, column 'patient': got nothing; valid: a group",
        "row 2, column 'cat': got ''; valid: 1, 0 or -1",
    ]
    # Identifiers of classes that became floating point are the same names as before.
    assert read_table(tmp_path / "t.parquet", labels_column="patient").class_names == ("7", "8")


def test_a_column_that_is_not_a_class_is_one_fault(tmp_path: Path) -> None:
    rows = [[f"{number}.png", 30 + number, number % 2] for number in range(25)]
    path = write_csv(tmp_path / "t.csv", ["image", "age", "cat"], rows)
    message = (
        "column 'age': got no valid cell (first: '30'); valid: 1, 0 or -1, or --classes with the names of the classes"
    )
    assert faults_of(path) == [message]
    assert read_table(path, classes=("cat",)).class_names == ("cat",)


def test_splits_may_be_in_upper_case(tmp_path: Path) -> None:
    path = three(tmp_path, ["cat"], [1], [1], [1])
    path.write_text(path.read_text().replace("train", " Train ").replace("val", "VAL").replace("test", "Test"))
    assert [split for split, _ in rows_of(read_table(path)).values()] == ["train", "val", "test"]
    path.write_text(path.read_text().replace("VAL", "dev"))
    assert faults_of(path) == ["row 1, column 'split': got 'dev'; valid: train, val, test"]


def test_paths_from_windows_are_read(tmp_path: Path) -> None:
    picture(tmp_path / "sub" / "a.png", 0)
    picture(tmp_path / "b\\c.png", 1)
    path = tmp_path / "t.csv"
    path.write_text("image,split,cat\nsub\\a.png,train,1\nb\\c.png,val,1\n")
    assert list(rows_of(read_table(path))) == ["sub/a.png", "b\\c.png"]
    path.write_text("image,split,cat\nsub\\a.png,train,1\nsub/a.png,train,1\n")
    assert faults_of(path) == [
        "row 1, column 'image': got 'sub/a.png', the image of row 0; valid: one row for each image"
    ]


def test_a_missing_image_comes_with_a_hint(tmp_path: Path) -> None:
    names = ["photo.JPG", unicodedata.normalize("NFD", "é.png"), "other.jpeg"]
    for number, name in enumerate(names):
        picture(tmp_path / "i" / name, number)
    cells = ["i/photo.jpg", "i/é.png", "i/other", "i/none.png", "https://x.org/a.png", "nan", "i"]
    path = tmp_path / "t.csv"
    path.write_text("image,split,cat\n" + "".join(f"{cell},train,1\n" for cell in cells))
    end = "; valid: an image, its path counted from --image-folder"
    assert faults_of(path) == [
        f"row 0, column 'image': got 'i/photo.jpg': no such file ({tmp_path}/i/photo.jpg) (there is 'photo.JPG'){end}",
        f"row 1, column 'image': got 'i/é.png': no such file ({tmp_path}/i/é.png) (there is {names[1]!r}){end}",
        f"row 2, column 'image': got 'i/other': no such file ({tmp_path}/i/other) (there is 'other.jpeg'){end}",
        f"row 3, column 'image': got 'i/none.png': no such file ({tmp_path}/i/none.png){end}",
        "row 4, column 'image': got 'https://x.org/a.png': an address; valid: the path of a file on this machine",
        "row 5, column 'image': got 'nan'; valid: the path of an image",
        f"row 6, column 'image': got 'i': no such file ({tmp_path}/i){end}",
    ]


def test_groups_with_space_around_them_are_one(tmp_path: Path) -> None:
    path = three(tmp_path, ["patient", "cat"], ["p1", 1], ["p1 ", 1], ["None", 1])
    assert faults_of(path, group_column="patient") == [
        "row 1, column 'patient': got 'p1' in val, which row 0 has in train; valid: one split",
        "row 2, column 'patient': got 'None'; valid: a group",
    ]


@pytest.mark.parametrize("name", ["x" * 201, "a\u0007b"])
def test_names_that_no_class_can_have_are_refused(tmp_path: Path, name: str) -> None:
    path = three(tmp_path, ["tags"], [name], [name], ["cat"])
    with pytest.raises(DataError, match="class names: got .*; valid: up to 200 characters, no line ends"):
        read_table(path, labels_column="tags")


@pytest.mark.parametrize("column", range(5))
def test_a_huge_cell_is_cut_in_every_fault(tmp_path: Path, column: int) -> None:
    picture(tmp_path / "a.png", 0)
    row = ["a.png", "train", "1", "g", "[a]"]
    row[column] = "[" + "x" * 100_000
    (tmp_path / "t.csv").write_text("image,split,cat,group,tags\n" + ",".join(row) + "\n")
    faults = faults_of(tmp_path / "t.csv", group_column="group", labels_column="tags")
    assert max(map(len, faults)) < 1000
    for fault in faults_of(tmp_path / "t.csv", classes=("cat", "tags")):
        assert len(fault) < 1000
