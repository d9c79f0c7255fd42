import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kmcl_platform.data.builtin import datasets
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.data.manifest.parquet import write_manifest
from kmcl_platform.errors import DataError


def small_digits() -> Manifest:
    return build_digits(num_train=20, num_val=10, num_test=10)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "build_digits", small_digits)


def test_digits_are_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_manifest("digits", tmp_path / "data")
    monkeypatch.setattr(datasets, "build_digits", lambda: pytest.fail("built again"))
    second = open_manifest("digits", tmp_path / "data")
    assert first.content_hash == second.content_hash == small_digits().content_hash
    assert sorted(os.listdir(tmp_path / "data")) == ["digits.parquet", "digits_samples"]


def test_samples_show_the_first_test_images(tmp_path: Path) -> None:
    manifest = open_manifest("digits", tmp_path)
    names = sorted(os.listdir(tmp_path / "digits_samples"))
    assert len(names) == 6
    for i, name in enumerate(names):
        labels = "-".join(str(k) for k in np.flatnonzero(manifest.targets("test")[i]))
        assert name == f"digits-test-{i:04d}_labels-{labels}.png"
        with Image.open(tmp_path / "digits_samples" / name) as image:
            assert (image.mode, image.size) == ("L", (40, 40))


@pytest.mark.parametrize("damage", ["truncated", "old version"])
def test_damaged_or_old_digits_are_built_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "digits.parquet"
    open_manifest("digits", tmp_path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        old = {"name": "digits", "version": "0", "class_names": ["0"], "splits": ["test"], "images": ["x"]}
        write_manifest(build_manifest(**old, targets=np.ones((1, 1), dtype=int)), path)  # type: ignore[arg-type]
    assert open_manifest("digits", tmp_path).content_hash == small_digits().content_hash


def test_two_processes_may_build_the_digits_at_the_same_time(tmp_path: Path) -> None:
    # Forked, so that the children also use the small build of this test.
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=open_manifest, args=("digits", tmp_path)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert open_manifest("digits", tmp_path).content_hash == small_digits().content_hash
    assert sorted(os.listdir(tmp_path)) == ["digits.parquet", "digits_samples"]


def test_a_path_opens_that_manifest(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    write_manifest(small_digits(), path)
    assert open_manifest(str(path), tmp_path / "unused").content_hash == small_digits().content_hash
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("source", ["imagenet", "digits.csv", ""])
def test_an_unknown_source_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(DataError) as caught:
        open_manifest(source, tmp_path)
    assert str(caught.value) == (
        f"data.source: got {source!r}; valid: digits, or the path of a manifest (*.parquet), which `kmcl data import` makes"
    )


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        open_manifest("digits", tmp_path / "file")
