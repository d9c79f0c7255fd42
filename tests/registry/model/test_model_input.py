"""The input of a registered model: one of three columns. A server reads only the files that it may read."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kmcl_platform.errors import DataError
from kmcl_platform.registry.model.model_input import PATHS_FROM, read_images

PIXELS = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "served" / "image.png"
    path.parent.mkdir()
    path.write_bytes(b"an image")
    return path


def test_bytes_paths_and_arrays_are_read(image: Path) -> None:
    assert read_images(pd.DataFrame({"image": [b"a", bytearray(b"b")]})) == [b"a", b"b"]
    assert read_images(pd.DataFrame({"path": [str(image)]})) == [b"an image"]
    # MLflow adds the schema's other columns without values.
    assert read_images(pd.DataFrame({"image": [None, None], "path": [str(image)] * 2})) == [b"an image"] * 2
    assert read_images(pd.DataFrame({"image": []})) == []


@pytest.mark.parametrize("form", ["array", "lists", "int64", "arrow"])
def test_pixels_in_every_form_are_read(form: str, tmp_path: Path) -> None:
    given = {
        "array": PIXELS,
        "lists": json.loads(json.dumps(PIXELS.tolist())),
        "int64": PIXELS.astype(np.int64),
        "arrow": PIXELS.tolist(),
    }[form]
    table = pd.DataFrame({"array": [given]})
    if form == "arrow":
        table.to_parquet(tmp_path / "arrays.parquet")
        table = pd.read_parquet(tmp_path / "arrays.parquet")
    (found,) = read_images(table)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.uint8
    assert (found == PIXELS).all()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "columns: got none of them; valid: exactly one of image, path, array"),
        ({"other": [1]}, "columns: got none of them; valid: exactly one of image, path, array"),
        ({"image": [b"a"], "path": ["b"]}, "columns: got image and path; valid: exactly one of image, path, array"),
        ({"image": [b"a", None]}, "row 1: column 'image' is empty; valid: an image in every row"),
        ({"image": ["text"]}, "row 0: column 'image': got str; valid: the encoded bytes of an image"),
        (
            {"path": ["gone.png"]},
            "path: got 'gone.png', which cannot be read (No such file or directory); valid: an image file",
        ),
        ({"path": ["a\0b"]}, "path: got 'a\\x00b', which cannot be read (embedded null byte); valid: an image file"),
        ({"array": [PIXELS / 255]}, "row 0: column 'array': got type float64; valid: whole numbers 0 to 255"),
        ({"array": [PIXELS[..., 0]]}, "got shape (2, 4); valid: whole numbers 0 to 255, height x width x 3"),
        ({"array": [PIXELS[:0]]}, "got shape (0, 4, 3)"),
        ({"array": [[[[1, 2, 256]]]]}, "got values from 1 to 256"),
        ({"array": [[[[1, 2, 3]], [[1, 2]]]]}, "got rows of different lengths"),
        ({"array": ["text"]}, "got shape ()"),
    ],
)
def test_an_input_that_is_not_an_image_is_reported_in_one_line(columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_images(pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()}))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a process of `mlflow models serve`."""
    monkeypatch.setenv("__pyfunc_model_path__", "/somewhere")
    return monkeypatch


def test_a_server_reads_no_file(served: pytest.MonkeyPatch, image: Path) -> None:
    with pytest.raises(DataError, match="column 'path': a server reads no files; valid: 'image' or 'array', or"):
        read_images(pd.DataFrame({"path": [str(image)]}))
    served.setenv(PATHS_FROM, "")
    with pytest.raises(DataError, match="a server reads no files"):
        read_images(pd.DataFrame({"path": [str(image)]}))
    assert read_images(pd.DataFrame({"image": [b"a"]})) == [b"a"]


def test_a_server_reads_files_below_its_folder_and_no_others(
    served: pytest.MonkeyPatch, image: Path, tmp_path: Path
) -> None:
    served.setenv(PATHS_FROM, str(image.parent))
    assert read_images(pd.DataFrame({"path": ["image.png", str(image)]})) == [b"an image"] * 2
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    (image.parent / "link.png").symlink_to(secret)
    for path in (str(secret), "../secret.png", "link.png", "../served2/x.png"):
        with pytest.raises(DataError, match="outside the server's folder; valid: a path below it"):
            read_images(pd.DataFrame({"path": [path]}))
