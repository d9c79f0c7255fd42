from pathlib import Path

import pytest

from kmcl_platform.data.readers.voc import VOC_CLASSES, read_voc
from kmcl_platform.errors import DataError
from tests.data.fixtures import VOC_LABELS, picture, write_voc
from tests.data.readers.rows import rows_of


@pytest.mark.parametrize("year", ["2007", "2012"])
def test_labels_and_splits_are_read(tmp_path: Path, year: str) -> None:
    write_voc(tmp_path, year)
    manifest = read_voc(tmp_path, year=year, val_fraction=0.34)
    assert (manifest.name, manifest.class_names) == (f"voc{year}", VOC_CLASSES)
    rows = rows_of(manifest)
    assert len(rows) == 9
    for official, labels in VOC_LABELS.items():
        for image, expected in labels.items():
            split, found = rows[f"JPEGImages/{image}.jpg"]
            assert split in (("train", "val") if official == "trainval" else ("test",))
            # The label of a difficult object is unknown.
            assert found == {name: {1: 1, 0: -1}[label] for name, label in expected.items()}
    assert [split for split, _ in rows.values()].count("val") == 2


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_any_folder_of_the_layout_may_be_given(tmp_path: Path, below: str) -> None:
    write_voc(tmp_path)
    manifest = read_voc(tmp_path / below, year="2007", val_fraction=0.3)
    assert manifest.root == tmp_path / "VOCdevkit" / "VOC2007"
    assert manifest.encoded_image("test", 0)[:3] == b"\xff\xd8\xff"


def test_unlabelled_test_of_2012_is_left_out(tmp_path: Path) -> None:
    folder = write_voc(tmp_path, "2012")
    picture(folder / "JPEGImages" / "2008_000001.jpg", 0)
    assert "JPEGImages/2008_000001.jpg" not in rows_of(read_voc(tmp_path, year="2012", val_fraction=0.3))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("cat_trainval.txt", "000005 -1\n000007  2\n", "line 2: got '000007  2'; valid: an image and -1, 0 or 1"),
        ("cat_trainval.txt", "000005\n", "line 1: got '000005'; valid: an image and -1, 0 or 1"),
        ("cat_trainval.txt", "", "got no lines; valid: one for each image"),
        (
            "cat_trainval.txt",
            "000005 -1\n",
            "images are not those of aeroplane_trainval.txt (first difference: '000007')",
        ),
        ("cat_test.txt", None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_broken_list_names_file_and_line(tmp_path: Path, file: str, text: str | None, message: str) -> None:
    path = write_voc(tmp_path) / "ImageSets" / "Main" / file
    path.write_text(text) if text is not None else path.unlink()
    with pytest.raises(DataError) as caught:
        read_voc(tmp_path, year="2007")
    assert str(caught.value).startswith(f"{path}: {message}")


def test_missing_images_are_counted(tmp_path: Path) -> None:
    folder = write_voc(tmp_path)
    for image in ("000009", "000002"):
        (folder / "JPEGImages" / f"{image}.jpg").unlink()
    with pytest.raises(
        DataError, match=r"JPEGImages: 2 images are missing \('000009.jpg', '000002.jpg'\); valid: every"
    ):
        read_voc(tmp_path, year="2007")


def test_another_year_is_refused(tmp_path: Path) -> None:
    folder = write_voc(tmp_path, "2012")
    with pytest.raises(DataError, match="got VOC2012; valid: VOC2007"):
        read_voc(folder, year="2007")
    with pytest.raises(DataError, match="not the official layout: ImageSets/Main is missing"):
        read_voc(tmp_path, year="2007")
    with pytest.raises(DataError, match="^year: got '2010'; valid: 2007, 2012$"):
        read_voc(tmp_path, year="2010")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_from_windows_are_read(tmp_path: Path, encoding: str) -> None:
    folder = write_voc(tmp_path)
    expected = read_voc(tmp_path, val_fraction=0.3).content_hash
    for path in (folder / "ImageSets" / "Main").iterdir():
        path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    assert read_voc(tmp_path, val_fraction=0.3).content_hash == expected
