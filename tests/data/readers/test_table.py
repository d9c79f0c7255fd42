from pathlib import Path

import pandas as pd
import pytest

from kmcl_platform.data.manifest.table_errors import FaultyTable
from kmcl_platform.data.readers.table import read_table
from kmcl_platform.errors import DataError
from tests.data.fixtures import picture, write_csv
from tests.data.readers.rows import rows_of

HEADER = ["image", "split", "cat", "dog"]
ROWS = [
    ["a.png", "train", 1, 0],
    ["b.png", "train", "0.0", "True"],
    ["sub/c.png", "val", -1, 1],
    ["d.png", "test", 0, "-1.0"],
]
EXPECTED = {
    "a.png": ("train", {"cat": 1}),
    "b.png": ("train", {"dog": 1}),
    "sub/c.png": ("val", {"cat": -1, "dog": 1}),
    "d.png": ("test", {"dog": -1}),
}


def test_a_column_for_each_class_is_read(tmp_path: Path) -> None:
    manifest = read_table(write_csv(tmp_path / "mine.csv", HEADER, ROWS))
    assert (manifest.name, manifest.class_names) == ("mine", ("cat", "dog"))
    assert rows_of(manifest) == EXPECTED


def test_parquet_with_an_index_of_pandas_is_read(tmp_path: Path) -> None:
    write_csv(tmp_path / "mine.csv", HEADER, ROWS)
    frame = pd.DataFrame(
        [[*row[:2], int(float(row[2])), {"True": 1, "-1.0": -1}.get(row[3], row[3])] for row in ROWS], columns=HEADER
    )  # type: ignore[call-overload]
    frame.index = pd.Index([3, 1, 0, 2])
    frame.to_parquet(tmp_path / "mine.parquet")
    frame.to_csv(tmp_path / "indexed.csv")
    for file in ("mine.parquet", "indexed.csv"):
        manifest = read_table(tmp_path / file)
        assert manifest.class_names == ("cat", "dog")
        assert rows_of(manifest) == EXPECTED


@pytest.mark.parametrize("classes", [(), ("cat", "dog", "hen")])
def test_joined_labels_are_read(tmp_path: Path, classes: tuple[str, ...]) -> None:
    rows = [["a.png", "train", "dog; cat"], ["b.png", "train", ""], ["c.png", "val", "none"], ["d.png", "test", "dog;"]]
    path = write_csv(tmp_path / "t.csv", ["image", "split", "tags"], rows)
    manifest = read_table(path, labels_column="tags", separator=";", no_label="none", classes=classes)
    assert manifest.class_names == (classes or ("cat", "dog"))
    assert [labels for _, labels in rows_of(manifest).values()] == [{"dog": 1, "cat": 1}, {}, {}, {"dog": 1}]


def test_one_pass_finds_every_fault(tmp_path: Path) -> None:
    rows = [
        ["a.png", "train", 1, 0],
        ["no.png", "train", 1, 0],
        ["./a.png", "train", 1, 0],
        ["sub/../a.png", "test", 1, 0],
        ["", "val", 1, 0],
        ["b.png", "valid", 2, ""],
    ]
    path = write_csv(tmp_path / "t.csv", HEADER, rows)
    with pytest.raises(FaultyTable) as caught:
        read_table(path)
    found = {(fault.kind, fault.row, fault.column) for fault in caught.value.faults}
    assert found == {
        ("split that is not valid", 5, "split"),
        ("missing image", 1, "image"),
        ("image twice", 2, "image"),
        ("image in two splits", 3, "image"),
        ("empty cell", 4, "image"),
        ("label that is not valid", 5, "cat"),
        ("label that is not valid", 5, "dog"),
    }
    text = str(caught.value)
    assert text == f"{path}: row 5, column 'split': got 'valid'; valid: train, val, test (and 6 more faults)"
    assert "got 'sub/../a.png' in test, which row 0 has in train" in " ".join(map(str, caught.value.faults))


def test_faults_of_joined_labels_are_found(tmp_path: Path) -> None:
    rows = [["a.png", "train", "cat|fox"], ["b.png", "val", "dog|dog"], ["c.png", "test", "none|cat"]]
    path = write_csv(tmp_path / "t.csv", ["image", "split", "tags"], rows)
    with pytest.raises(FaultyTable) as caught:
        read_table(path, labels_column="tags", no_label="none", classes=("cat", "dog"))
    assert list(map(str, caught.value.faults)) == [
        "row 0, column 'tags': got 'fox'; valid: cat, dog",
        "row 1, column 'tags': got 'dog' twice; valid: each label once",
        "row 2, column 'tags': got 'none|cat': 'none' together with a label; valid: one or the other",
    ]


def test_groups_are_drawn_whole(tmp_path: Path) -> None:
    header = ["image", "patient", "cat"]
    rows = [[f"{number}.png", f"p{number // 4}", number % 2] for number in range(40)]
    manifest = read_table(write_csv(tmp_path / "t.csv", header, rows), group_column="patient")
    splits: dict[int, set[str]] = {}
    for number, (split, _) in enumerate(rows_of(manifest).values()):
        splits.setdefault(number // 4, set()).add(split)
    assert all(len(where) == 1 for where in splits.values())
    assert {split for where in splits.values() for split in where} == {"train", "val", "test"}
    assert manifest.class_names == ("cat",)

    header.insert(1, "split")
    path = write_csv(tmp_path / "u.csv", header, [["0.png", "train", "p", 1], ["1.png", "test", "p", 1]])
    with pytest.raises(FaultyTable, match="row 1, column 'patient': got 'p' in test, which row 0 has in train"):
        read_table(path, group_column="patient")


def test_a_missing_val_is_drawn(tmp_path: Path) -> None:
    rows = [[f"{number}.png", "train" if number < 16 else "test", number % 2] for number in range(20)]
    path = write_csv(tmp_path / "t.csv", ["image", "split", "cat"], rows)
    splits = [split for split, _ in rows_of(read_table(path, val_fraction=0.25)).values()]
    assert splits[16:] == ["test"] * 4
    assert splits.count("val") == 4


def test_images_may_be_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    picture(tmp_path / "pictures" / "a.png", 0)
    picture(tmp_path / "b.png", 1)
    path = tmp_path / "tables" / "t.csv"
    path.write_text(f"image,split,cat\na.png,train,1\n{tmp_path / 'b.png'},val,0\n")
    manifest = read_table(path, image_folder=tmp_path / "pictures")
    assert manifest.root == tmp_path / "pictures"
    assert manifest.encoded_image("train", 0) == (tmp_path / "pictures" / "a.png").read_bytes()
    assert manifest.encoded_image("val", 0) == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,split,cat,cat\na,train,1,0\n", "cannot be read: columns 'cat' appear twice"),
        ("picture,split,cat\na,train,1\n", "columns: 'image' (--image-column) missing; got 'picture', 'split', 'cat'"),
        ("image,split,cat\n", "got no rows; valid: one row for each image"),
        ("", "cannot be read: No columns to parse from file"),
        ("image,split\na.png,train\n", "classes: got none"),
        ("image,split,cat\na,train,1,7,9\n", "cannot be read: "),
        (b"image,split,cat\n\xff,train,1\n", "line 2: got byte 0xff, not UTF-8; valid: "),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_is_not_such_a_table_is_refused(tmp_path: Path, content: str | bytes | None, message: str) -> None:
    picture(tmp_path / "a.png", 0)
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("column", "asked"), [("Split", "split"), ("fold", "folds"), ("SET", "set")])
def test_a_column_of_splits_that_is_not_found_is_never_replaced_by_a_draw(
    column: str, asked: str, tmp_path: Path
) -> None:
    rows = [
        [f"{name}.png", split, "cat"] for name, split in zip("abcd", ["train", "train", "val", "test"], strict=True)
    ]
    path = write_csv(tmp_path / "t.csv", ["image", column, "tags"], rows)
    with pytest.raises(DataError, match=rf"--split-column: got '{asked}'; valid: .*'{column}'"):
        read_table(path, split_column=asked, labels_column="tags")
    assert set(read_table(path, split_column=column, labels_column="tags").table["split"].to_pylist()) == {
        "train",
        "val",
        "test",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels_column": "tags", "separator": ""}, "--separator: got ''; valid: what is between two labels"),
        (
            {"labels_column": "image"},
            "--labels-column: got 'image', the column of the images; valid: that of the labels",
        ),
    ],
)
def test_options_that_would_make_nonsense_of_the_labels_are_refused(
    options: dict[str, str], message: str, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "t.csv", ["image", "split", "tags"], [["a.png", "train", "cat;dog"]])
    with pytest.raises(DataError, match=message):
        read_table(path, **options)  # type: ignore[arg-type]
