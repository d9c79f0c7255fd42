"""A user's own features: read from NumPy and Parquet files, and refused in one line where they do not match."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmcl_platform.data.loading.own_features import digest_own_features, read_own_features, rows_of_split
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.errors import DataError

SPLITS = ["val", "train", "train", "test", "val"]
IMAGES = [f"{row}.png" for row in range(5)]
FEATURES_ND = np.arange(15, dtype=np.float32).reshape(5, 3)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    targets = np.ones((5, 2), dtype=np.int8)
    return build_manifest(name="m", version="1", class_names=["a", "b"], splits=SPLITS, images=IMAGES, targets=targets)


def write_parquet(path: Path, features: object, images: list[str] | None = IMAGES) -> None:
    columns = {"features": features} | ({} if images is None else {"image": images})
    pq.write_table(pa.table(columns), path)


def test_rows_are_those_of_the_manifest(manifest: Manifest, tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", FEATURES_ND)
    write_parquet(tmp_path / "f.parquet", list(FEATURES_ND))
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(FEATURES_ND.ravel()), 3)
    write_parquet(tmp_path / "fixed.parquet", fixed, images=None)
    for name in ("f.npy", "f.parquet", "fixed.parquet"):
        assert np.array_equal(read_own_features(str(tmp_path / name), manifest), FEATURES_ND), name
    assert rows_of_split(manifest, "val").tolist() == [0, 4]
    assert rows_of_split(manifest, "train").tolist() == [1, 2]


def save(array: object) -> Callable[[Path], None]:
    return lambda path: np.save(path, array)


def write_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=FEATURES_ND)


NAN_ND = FEATURES_ND.copy()
NAN_ND[3, 1] = np.nan


def write_twice(path: Path) -> None:
    column = pa.table({"features": [[1.0]] * 5})["features"]
    pq.write_table(pa.Table.from_arrays([column, column], ["features", "features"]), path)


WRONG: list[tuple[str, Callable[[Path], object], str]] = [
    ("f.npy", lambda path: None, "cannot be read (No such file or directory); valid: *.npy"),
    ("f.npy", lambda path: path.write_bytes(b"no array"), "cannot be read ("),
    ("f.csv", lambda path: path.write_text("1,2"), "got a name that ends in '.csv'; valid: *.npy"),
    ("f.npy", save(FEATURES_ND[:4]), "got 4 rows; valid: 5, one for each row of the manifest 'm', in its order"),
    ("f.npy", save(NAN_ND), "row 3, feature 1: got nan; valid: finite numbers"),
    ("f.npy", save(FEATURES_ND.astype(float) * 1e38), "row 1, feature 1: got 4e+38; valid: numbers within the range of float32"),
    ("f.npy", write_npz, "got several arrays (as in *.npz); valid: *.npy"),
    ("f.npy", lambda path: path.mkdir(), "cannot be read (Is a directory); valid: *.npy"),
    ("f.npy", save(FEATURES_ND[0]), "got shape (3,); valid: rows x features"),
    ("f.npy", save(FEATURES_ND[:, :0]), "got shape (5, 0); valid: rows x features"),
    ("f.npy", save(FEATURES_ND.astype(int)), "got type int64; valid: float16, float32 or float64"),
    ("f.npy", save(np.array([[None]] * 5)), "cannot be read ("),
    ("f.parquet", lambda path: path.write_bytes(b"PAR1"), "cannot be read ("),
    ("f.parquet", lambda path: pq.write_table(pa.table({"a": [1]}), path), "got columns ['a']; valid: one column"),
    ("f.parquet", write_twice, "got columns ['features', 'features']; valid: one column 'features', and at most one"),
    ("f.parquet", lambda path: write_parquet(path, list(FEATURES_ND), IMAGES[::-1]), "row 0, column 'image': got '4.png'"),
    ("f.parquet", lambda path: write_parquet(path, [[1.0, 2.0]] * 4 + [[1.0]]), "row 4: got 1 numbers; valid: 2, as in"),
    ("f.parquet", lambda path: write_parquet(path, [1.0] * 5), "column 'features': got double; valid: lists of float32"),
    ("f.parquet", lambda path: write_parquet(path, [[1]] * 5), "column 'features': got list<element: int64>; valid: lists of"),
    ("f.parquet", lambda path: write_parquet(path, [[1.0]] * 4 + [None]), "row 4, column 'features': got no value; valid: a"),
    ("f.parquet", lambda path: write_parquet(path, [[1.0]] * 4 + [[None]]), "row 4, feature 0: got nan; valid: finite numbers"),
    ("f.parquet", lambda path: write_parquet(path, pa.array([[]] * 5, pa.list_(pa.float32()))), "got shape (5, 0); valid:"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "write", "message"), WRONG)
def test_features_that_do_not_match_are_refused_in_one_line(
    name: str, write: Callable[[Path], object], message: str, manifest: Manifest, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError) as refused:
        read_own_features(str(tmp_path / name), manifest)
    text = str(refused.value)
    assert text.startswith(f"data.features: {tmp_path / name}: ")
    assert message in text and "\n" not in text


def test_values_beyond_float16_are_refused_where_features_are_kept_so(manifest: Manifest, tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", FEATURES_ND * 1e4)
    read_own_features(str(tmp_path / "f.npy"), manifest)
    with pytest.raises(DataError, match="row 2, feature 1: got 70000; valid: numbers within the range of float16$"):
        read_own_features(str(tmp_path / "f.npy"), manifest, "float16")


def test_a_path_that_no_file_can_have_is_one_line(manifest: Manifest) -> None:
    for name in ("a\0b.npy", "a\0b.parquet"):
        with pytest.raises(DataError, match="^data.features: .*: cannot be read .*null byte"):
            read_own_features(name, manifest)
        with pytest.raises(DataError, match="^data.features: .*: cannot be read .*null byte"):
            digest_own_features(name)


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    file, known = tmp_path / "f.npy", tmp_path / "known"
    np.save(file, FEATURES_ND)
    first = digest_own_features(str(file), known)
    assert digest_own_features(str(file)) == first
    np.save(file, -FEATURES_ND)
    assert digest_own_features(str(file), known) != first
    np.save(file, FEATURES_ND)
    assert digest_own_features(str(file), known) == first
    with pytest.raises(DataError, match="^data.features: .*gone.npy: cannot be read .*valid: "):
        digest_own_features(str(tmp_path / "gone.npy"), known)
