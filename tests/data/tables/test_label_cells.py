"""Labels of a cell: a printed list is read where it is unambiguous, and never becomes the name of a class."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kmcl_platform.data.manifest.table_errors import FaultyTable
from kmcl_platform.data.readers.table import read_table
from kmcl_platform.data.tables.label_cells import LabelError, find_other_separator, read_labels
from tests.data.fixtures import picture, write_csv
from tests.data.readers.rows import rows_of

LISTS = [["cat", "dog"], [], ["dog"], ["traffic light", "it's"]]


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("cat|dog", ["cat", "dog"]),
        ("['cat', 'dog']", ["cat", "dog"]),
        ('["cat","dog"]', ["cat", "dog"]),
        ("['cat' 'dog']", ["cat", "dog"]),
        ("['cat'\n 'dog']", ["cat", "dog"]),
        ("[u'cat', u'dog']", ["cat", "dog"]),
        ("[np.str_('cat'), np.str_('dog')]", ["cat", "dog"]),
        ("array(['cat', 'dog'], dtype=object)", ["cat", "dog"]),
        ("('cat',)", ["cat"]),
        ("{'cat', 'dog'}", ["cat", "dog"]),
        ('["it\'s", "\\u00e9t\\u00e9"]', ["it's", "été"]),
        ("[3, 17]", ["3", "17"]),
        ("[3 17]", ["3", "17"]),
        ("[]", []),
        ("set()", []),
        ("  ", []),
        ("cat (small)|(other)", ["cat (small)", "(other)"]),
        (["cat", " dog "], ["cat", "dog"]),
        ([3, 4.0], ["3", "4"]),
    ],
)
def test_cells_of_many_forms_are_read(cell: object, labels: list[str]) -> None:
    assert read_labels(cell, "|") == labels


@pytest.mark.parametrize(
    "cell",
    [
        "[cat, dog]",
        "['cat', 'dog'",
        "'cat', 'dog']",
        "['cat', dog]",
        "['cat', 3]",
        "['cat' ... 'dog']",
        "{'cat': 1, 'dog': 0}",
        "[['cat'], ['dog']]",
        "[0.5, 0.2]",
        "['cat''dog']",
        "nan",
        "None|cat",
        ["cat", None],
        [["cat"]],
        [True],
        [0.5, 1],
    ],
)
def test_other_cells_are_refused(cell: object) -> None:
    with pytest.raises(LabelError, match="^got .*; valid: "):
        read_labels(cell, "|")


def test_known_names_are_never_read_as_a_list() -> None:
    assert read_labels("[cat]|NA", "|", classes=("[cat]", "NA")) == ["[cat]", "NA"]
    assert read_labels("nan", "|", no_label="nan") == ["nan"]


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["cat,dog", "cat", "dog"], ","),
        (["haze primary", "clear primary", "clear", "primary", "haze"], " "),
        (["traffic light", "stop sign", "car"], None),
        (["tench, Tinca tinca", "goldfish, Carassius"], None),
        (["cat|dog", "a,b", "a", "b"], None),
        (["cat", "", "dog"], None),
    ],
)
def test_another_separator_is_noticed(cells: list[str], separator: str | None) -> None:
    assert find_other_separator(cells, "|") == separator


def expect_lists(path: Path, **options: str) -> None:
    manifest = read_table(path, labels_column="tags", **options)  # type: ignore[arg-type]
    assert manifest.class_names == ("cat", "dog", "it's", "traffic light")
    assert [set(labels) for _, labels in rows_of(manifest).values()] == [set(labels) for labels in LISTS]


@pytest.mark.parametrize("kind", ["list", "array", "tuple"])
def test_columns_of_lists_in_parquet_are_read(tmp_path: Path, kind: str) -> None:
    for number in range(4):
        picture(tmp_path / f"{number}.png", number)
    make = {"list": list, "tuple": tuple, "array": lambda labels: np.array(labels, dtype=object)}[kind]
    frame = pd.DataFrame({"image": [f"{n}.png" for n in range(4)], "split": ["train", "train", "val", "test"]})
    frame["tags"] = [make(labels) for labels in LISTS]
    frame.to_parquet(tmp_path / "t.parquet")
    expect_lists(tmp_path / "t.parquet")
    # pandas writes such lists to CSV in the form in which it prints them.
    frame.to_csv(tmp_path / "t.csv", index=False)
    expect_lists(tmp_path / "t.csv")


@pytest.mark.parametrize("cell", ["[1, 0, 1]", "[0 0 1]"])
def test_vectors_of_targets_are_not_labels(tmp_path: Path, cell: str) -> None:
    rows = [["a.png", "train", cell], ["b.png", "val", "[0, 1, 0]"], ["c.png", "test", "[0, 0, 0]"]]
    path = write_csv(tmp_path / "t.csv", ["image", "split", "tags"], rows)
    with pytest.raises(FaultyTable, match="column 'tags': got vectors of 0, 1 and -1"):
        read_table(path, labels_column="tags")


def test_a_refusal_names_row_and_column(tmp_path: Path) -> None:
    rows = [["a.png", "train", "cat"], ["b.png", "val", "[cat, dog]"], ["c.png", "test", "nan"]]
    path = write_csv(tmp_path / "t.csv", ["image", "split", "tags"], rows)
    with pytest.raises(FaultyTable) as caught:
        read_table(path, labels_column="tags")
    first, second = map(str, caught.value.faults)
    assert first.startswith("row 1, column 'tags': got '[cat, dog]', which looks like a printed list; valid: ")
    assert second == "row 2, column 'tags': got 'nan', a missing value; valid: an empty cell, or --no-label nan"


def test_a_column_of_lists_needs_its_option(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 0)
    frame = pd.DataFrame({"image": ["a.png"], "split": ["train"], "tags": [["cat"]]})
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(FaultyTable, match="column 'tags': got lists; valid: 1, 0 or -1, or --labels-column tags"):
        read_table(tmp_path / "t.parquet")


def test_another_separator_needs_its_option(tmp_path: Path) -> None:
    rows = [["a.png", "train", "cat;dog"], ["b.png", "val", "cat"], ["c.png", "test", "dog"]]
    path = write_csv(tmp_path / "t.csv", ["image", "split", "tags"], rows)
    with pytest.raises(FaultyTable, match="got 'cat;dog' and no '|' in any row; valid: --separator ';' if"):
        read_table(path, labels_column="tags")
    assert read_table(path, labels_column="tags", separator=";").class_names == ("cat", "dog")
    assert read_table(path, labels_column="tags", separator="|").class_names == ("cat", "cat;dog", "dog")
