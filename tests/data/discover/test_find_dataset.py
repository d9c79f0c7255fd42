"""What a user's path is: which reader, which options, and one line where it cannot be known."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from kmcl_platform.data.discover.dataset import CLASS_FOLDERS, MANIFEST, find_dataset
from kmcl_platform.errors import DataError


def pictures(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        Image.new("RGB", (40, 30), (place, 80, 120)).save(folder / name)


def table(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_joined_labels_in_a_folder_beside_the_table(tmp_path: Path) -> None:
    pictures(tmp_path / "photos", "a.png", "b.png", "c.png")
    found = find_dataset(
        table(tmp_path / "mine.csv", "Filename,tags,patient_id\na.png,cat;dog,1\nb.png,dog,1\nc.png,cat;owl,2\n")
    )
    assert (found.kind, found.root) == ("table", tmp_path / "mine.csv")
    assert found.words == (
        "--image-column", "Filename", "--image-folder", str(tmp_path / "photos"), "--group-column", "patient_id",
        "--labels-column", "tags", "--separator", ";",
    )  # fmt: skip
    assert "Column tags has the labels, with ; between them." in found.reasons
    # The same through the folder, which has one table.
    again = find_dataset(tmp_path)
    assert (again.kind, again.root, again.words) == (found.kind, found.root, found.words)


def test_a_column_for_each_class_beside_others(tmp_path: Path) -> None:
    pictures(tmp_path, "a.png", "b.png")
    found = find_dataset(
        table(tmp_path / "t.csv", "image,width,cat,dog,split\na.png,40,1,0,train\nb.png,40,0,-1,test\n")
    )
    assert found.words == ("--classes", "cat,dog")
    assert found.reasons[-1] == "2 columns of 1, 0 and -1 are the classes (not used: width)."
    assert "Column split has the splits." in found.reasons


def test_lists_of_labels_in_parquet(tmp_path: Path) -> None:
    pictures(tmp_path, "a.png", "b.png")
    frame = pd.DataFrame({"path": ["a.png", "b.png"], "labels": [["cat"], ["cat", "dog"]]})
    frame.to_parquet(tmp_path / "t.parquet")
    assert find_dataset(tmp_path / "t.parquet").words == ("--image-column", "path", "--labels-column", "labels")


def test_a_manifest_needs_no_reader(small_manifest: Path) -> None:
    assert find_dataset(small_manifest).kind == MANIFEST


def test_class_folders(tmp_path: Path) -> None:
    pictures(tmp_path / "cat", "a.png", "b.JPG")
    pictures(tmp_path / "dog" / "small", "c.png")
    found = find_dataset(tmp_path)
    assert found.kind == CLASS_FOLDERS
    assert found.labels == (("cat/a.png", "cat"), ("cat/b.JPG", "cat"), ("dog/small/c.png", "small"))


@pytest.mark.parametrize(
    ("folders", "kind", "words"),
    [
        (["VOC2007/ImageSets/Main"], "voc", ("--year", "2007")),
        (["VOCdevkit/VOC2012/ImageSets/Main"], "voc", ("--year", "2012")),
        (["annotations/instances_train2017.json"], "coco", ("--year", "2017")),
        (["Data_Entry_2017_v2020.csv"], "chestxray14", ()),
        (["ADP_EncodedLabels_Release1_Flat.csv"], "adp", ("--level", "L3")),
    ],
)
def test_published_layouts(folders: list[str], kind: str, words: tuple[str, ...], tmp_path: Path) -> None:
    for name in folders:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("") if path.suffix else path.mkdir()
    found = find_dataset(tmp_path)
    assert (found.kind, found.words) == (kind, words)


def test_one_year_of_voc_by_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "VOC2007" / "ImageSets" / "Main").mkdir(parents=True)
    assert find_dataset(tmp_path / "VOC2007").root == tmp_path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,tags\nno.png,cat\n", "no column has paths of pictures (the first row has 'image no.png'"),
        ("image\na.png\n", "no column has labels; valid: a column of joined labels"),
        ("image,site,colour\na.png,north,red\n", "got several columns that may have the labels ('site, colour')"),
    ],
)
def test_a_table_that_cannot_be_understood(text: str, message: str, tmp_path: Path) -> None:
    pictures(tmp_path, "a.png")
    with pytest.raises(DataError) as caught:
        find_dataset(table(tmp_path / "t.csv", text))
    assert message in str(caught.value) and "valid: " in str(caught.value)


def test_a_folder_that_cannot_be_understood(tmp_path: Path) -> None:
    for make, message in (
        (lambda: None, "got no pictures and no table; valid: "),
        (lambda: pictures(tmp_path, "a.png"), "got 1 picture without labels; valid: "),
        (
            lambda: [table(tmp_path / f"{name}.csv", "") for name in "ab"],
            "got 2 tables ('a.csv, b.csv'); valid: name one",
        ),
    ):
        make()
        with pytest.raises(DataError) as caught:
            find_dataset(tmp_path)
        assert message in str(caught.value)
    with pytest.raises(DataError, match="no such file or folder"):
        find_dataset(tmp_path / "gone")
