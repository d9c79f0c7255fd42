from pathlib import Path

import pytest

from kmcl_platform.data.loading.dataset import ImageDataset
from kmcl_platform.data.loading.transforms import EvalTransform
from kmcl_platform.data.readers.chestxray14 import CHEST_CLASSES, read_chestxray14
from kmcl_platform.errors import DataError
from tests.data.fixtures import CHEST_ROWS, write_chest
from tests.data.readers.rows import rows_of


@pytest.mark.parametrize("parted", [True, False])
@pytest.mark.parametrize("corrected", [True, False])
def test_labels_splits_and_folders_are_read(tmp_path: Path, parted: bool, corrected: bool) -> None:
    manifest = read_chestxray14(write_chest(tmp_path, parted=parted, corrected=corrected), val_fraction=0.3)
    assert manifest.class_names == CHEST_CLASSES
    assert len(CHEST_CLASSES) == 14
    assert manifest.version == ("2017_v2020" if corrected else "2017")
    rows = {Path(image).name: row for image, row in rows_of(manifest).items()}
    assert len(rows) == len(CHEST_ROWS)
    for image, findings, patient in CHEST_ROWS:
        split, found = rows[image]
        # An image with `No Finding` is a sample that is negative for every class.
        assert found == ({} if findings == "No Finding" else dict.fromkeys(findings.split("|"), 1))
        assert (split == "test") == (patient >= 5)
    assert "val" in {split for split, _ in rows.values()}


@pytest.mark.parametrize("seed", range(8))
def test_val_contains_whole_patients(tmp_path: Path, seed: int) -> None:
    rows = rows_of(read_chestxray14(write_chest(tmp_path, parted=False), val_fraction=0.4, seed=seed))
    splits: dict[int, set[str]] = {}
    for image, _, patient in CHEST_ROWS:
        splits.setdefault(patient, set()).add(rows[f"images/{image}"][0])
    assert all(len(where) == 1 for where in splits.values())


def test_grey_and_rgba_images_become_rgb(tmp_path: Path) -> None:
    manifest = read_chestxray14(write_chest(tmp_path), val_fraction=0.3)
    transform = EvalTransform(image_size=16)
    for split in ("train", "val", "test"):
        dataset = ImageDataset(manifest, split, transform)
        assert dataset.__getitems__(list(range(len(dataset))))[0].shape == (len(dataset), 3, 16, 16)


def test_the_corrected_table_is_read(tmp_path: Path) -> None:
    write_chest(tmp_path)
    write_chest(tmp_path, corrected=True)
    assert read_chestxray14(tmp_path, val_fraction=0.3).version == "2017_v2020"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("Data_Entry_2017.csv", "Mass|Nodule", "Mass|Lump", "row 6, column 'Finding Labels': got 'Lump'; valid: Atelectasis"),
        ("Data_Entry_2017.csv", "Mass|Nodule", "Mass|No Finding", "row 6, column 'Finding Labels': got 'Mass|No Finding'"),
        ("Data_Entry_2017.csv", "Mass|Nodule", "", "row 6, column 'Finding Labels': got nothing"),
        ("Data_Entry_2017.csv", "Patient ID", "Patient", "columns: 'Patient ID' missing"),
        ("Data_Entry_2017.csv", "00000001_001", "00000001_000", "1 images appear twice ('00000001_000.png')"),
        ("test_list.txt", "00000005_000", "00000004_000", "1 images are in both lists ('00000004_000.png')"),
        ("test_list.txt", "00000005_000.png\n", "", "1 images in neither list ('00000005_000.png')"),
        ("test_list.txt", "00000005", "00000099", "1 images that Data_Entry_2017.csv does not have"),
        ("train_val_list.txt", "00000004_000.png", "00000004_000.png\n00000004_000.png", "1 images appear twice"),
    ],
)  # fmt: skip
def test_wrong_content_is_named(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    path = write_chest(tmp_path) / file
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))
    with pytest.raises(DataError) as caught:
        read_chestxray14(tmp_path)
    assert message in str(caught.value)
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_patient_in_both_lists_is_refused(tmp_path: Path) -> None:
    write_chest(tmp_path)
    for file, change in (("train_val_list.txt", "00000003_001.png\n"), ("test_list.txt", "")):
        path = tmp_path / file
        path.write_text(path.read_text().replace(change, "") if change else path.read_text() + "\n00000003_001.png")
    with pytest.raises(DataError, match="1 patients are in both \\('3'\\); valid: each patient in one"):
        read_chestxray14(tmp_path)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="the table is missing; valid: Data_Entry_2017_v2020.csv or Data_Entry_2017.csv"
    ):
        read_chestxray14(tmp_path)
    write_chest(tmp_path)
    (tmp_path / "images_002" / "images" / "00000001_001.png").unlink()
    with pytest.raises(DataError, match=r"1 images are missing \('00000001_001.png'\)"):
        read_chestxray14(tmp_path)
