from pathlib import Path

import numpy as np
import pytest

from kmcl_platform.data.readers.adp import ADP_LEVELS, read_adp
from kmcl_platform.errors import DataError
from tests.data.fixtures import ADP_LABELS, ADP_ROWS, write_adp
from tests.data.readers.rows import rows_of


def name(row: int) -> str:
    return f"img_res_1um_bicubic/{row + 1:03d}.png_crop_{row}.png"


@pytest.mark.parametrize(("level", "count"), [("L1", 9), ("L2", 26), ("L3", 33), ("L3Only", 22)])
def test_levels_splits_and_labels_are_read(tmp_path: Path, level: str, count: int) -> None:
    write_adp(tmp_path)
    manifest = read_adp(tmp_path, level=level)
    assert len(manifest.class_names) == count
    expected = {
        name(row): (split, {kind: 1 for kind in ADP_LABELS[row] if kind in manifest.class_names})
        for official, split in (("train", "train"), ("valid", "val"), ("test", "test"))
        for row in ADP_ROWS[official]
    }
    # Row 2 has no label at level L3Only. Row 5 has no label at all. Row 1 is in no split.
    assert rows_of(manifest) == expected
    assert manifest.encoded_image("test", 0)[:4] == b"\x89PNG"


def test_the_levels_are_the_published_ones() -> None:
    assert ADP_LEVELS["L1"] == tuple("ECHSAMNGT")
    assert set(ADP_LEVELS["L3"]) - set(ADP_LEVELS["L2"]) == {
        "E.M.S", "E.M.C", "E.T.S", "E.T.C", "C.D.I", "C.D.R", "N.G.M"
    }  # fmt: skip
    assert {"M", "T", "C.L"} < set(ADP_LEVELS["L3Only"])
    assert not {"E", "E.M", "N.G"} & set(ADP_LEVELS["L3Only"])


@pytest.mark.parametrize(("level", "left_out"), [("L3Only", {2, 5}), ("L1", {5})])
def test_rows_without_a_label_are_dropped_by_an_option(tmp_path: Path, level: str, left_out: set[int]) -> None:
    rows = rows_of(read_adp(write_adp(tmp_path), level=level, all_negative="drop"))
    assert set(rows) == {name(row) for rows in ADP_ROWS.values() for row in rows if row not in left_out}


@pytest.mark.parametrize(
    ("split", "rows", "message"),
    [
        ("test", np.array([4, 99, -1]), "test.npy: 2 row numbers are outside the table (first: 99); valid: 0 to 7"),
        ("test", np.array([4, 0]), "splits: 1 row numbers appear twice (first: 0); valid: each in one split, once"),
        ("test", np.array([4, 4]), "splits: 1 row numbers appear twice (first: 4)"),
        ("valid", np.array([0.5]), "valid.npy: got float64; valid: a list of row numbers"),
        ("valid", np.array([], dtype=int), "valid.npy: got int64; valid: a list of row numbers"),
        ("valid", np.array([{}], dtype=object), "valid.npy: cannot be read (not an array of numbers)"),
        ("train", None, "train.npy: cannot be read (No such file or directory)"),
    ],
)
def test_wrong_split_files_are_refused(tmp_path: Path, split: str, rows: np.ndarray | None, message: str) -> None:
    path = write_adp(tmp_path) / "splits" / f"{split}.npy"
    path.unlink()
    if rows is not None:
        np.save(path, rows, allow_pickle=True)
    with pytest.raises(DataError) as caught:
        read_adp(tmp_path, level="L1")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (".png,1,1,1,", ".png,1,1,2,", "row 0, column 'E.M.S': got '2'; valid: 1 or 0"),
        (".png,1,1,1,", ".png,1,-1,,", "row 0, column 'E.M': got '-1'; valid: 1 or 0 (and 1 more fault)"),
        (",E.M.S,", ",E.M.X,", "columns: 'E.M.S' missing; got 'Patch Names', 'E'"),
        ("002.png_crop_1", "001.png_crop_0", "1 patch names appear twice ('001.png_crop_0.png')"),
    ],
)
def test_wrong_labels_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write_adp(tmp_path) / "ADP_EncodedLabels_Release1_Flat.csv"
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))
    with pytest.raises(DataError) as caught:
        read_adp(tmp_path, level="L3")
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_missing_image_is_refused(tmp_path: Path) -> None:
    (write_adp(tmp_path) / name(7)).unlink()
    with pytest.raises(DataError, match=r"img_res_1um_bicubic: 1 images are missing \('008.png_crop_7.png'\)"):
        read_adp(tmp_path, level="L1")
