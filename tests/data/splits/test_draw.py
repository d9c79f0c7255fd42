"""Identical pictures: they are found, kept in one split, or left out."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.table_errors import Fault, FaultyTable
from kmcl_platform.data.splits import identical_pictures
from kmcl_platform.data.splits.draw import Draw, draw_manifest
from kmcl_platform.data.splits.identical_pictures import find_identical
from kmcl_platform.errors import DataError
from tests.data.fixtures import picture


def draw(
    folder: Path | None,
    images: list[str] | list[bytes],
    targets: list[list[int]],
    *,
    splits: list[str] | None = None,
    **options: object,
) -> Manifest:
    arguments: dict[str, object] = {
        "name": "m",
        "version": "",
        "class_names": ["cat", "dog"],
        "splits": splits or ["train"] * len(images),
        "images": images,
        "targets_NK": np.array(targets, dtype=np.int8),
        "root": folder,
    }
    return draw_manifest(**(arguments | options))  # type: ignore[arg-type]


def rows(manifest: Manifest) -> list[tuple[str, str, list[int]]]:
    return [(row["image"], row["split"], row["targets"]) for row in manifest.table.to_pylist()]


def copies(folder: Path, count: int) -> list[str]:
    """`count` pictures, each under two names."""
    for number in range(count):
        picture(folder / f"{number}.png", number)
        shutil.copy(folder / f"{number}.png", folder / f"{number}-copy.png")
    return [f"{number}{end}.png" for number in range(count) for end in ("", "-copy")]


def test_identical_files_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = b"x" * 40_000
    # All have one size and the same samples. Only the last two are identical.
    contents = [b"a", b"b", large + b"1", b"", large[:9000] + b"y" + large[9001:] + b"1", b"", b"a", large + b"1"]
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
    names = [str(number) for number in range(len(contents))]
    monkeypatch.setattr(identical_pictures, "_ROUND", 3)
    steps: list[tuple[str, int, int]] = []
    found = find_identical(names, tmp_path, "m", lambda *step: steps.append(step))
    assert found.tolist() == [0, 1, 2, 3, 4, 5, 0, 2]
    assert [done for _, done, _ in steps] == [3, 6, 8]
    assert find_identical([b"a", b"b", b"a"], None, "m").tolist() == [0, 1, 0]


def test_files_that_differ_in_size_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        (tmp_path / str(number)).write_bytes(b"x" * (number + 1))
    monkeypatch.setattr(identical_pictures, "_sample", lambda path: pytest.fail("read"))
    assert find_identical(["0", "1", "2"], tmp_path, "m").tolist() == [0, 1, 2]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(FaultyTable, match=f"^m: row 1: got '{tmp_path}/b': No such file or directory; valid: an image"):
        find_identical(["a", "b"], tmp_path, "m")


@pytest.mark.parametrize("seed", range(3))
def test_copies_are_drawn_into_one_split(tmp_path: Path, seed: int) -> None:
    images = copies(tmp_path, 20)
    draws = [Draw("test", 0.2, seed), Draw("val", 0.2, seed)]
    found = {image: split for image, split, _ in rows(draw(tmp_path, images, [[1, 0]] * 40, draws=draws))}
    assert len(found) == 40
    assert all(found[f"{number}.png"] == found[f"{number}-copy.png"] for number in range(20))
    assert set(found.values()) == {"train", "val", "test"}
    apart = draw(tmp_path, images, [[1, 0]] * 40, draws=draws, duplicates="keep")
    found = {image: split for image, split, _ in rows(apart)}
    assert any(found[f"{number}.png"] != found[f"{number}-copy.png"] for number in range(20))


def test_groups_and_copies_are_kept_together(tmp_path: Path) -> None:
    # Patients 0 and 1 share a picture, and so do 1 and 2: all three go into one split.
    images = copies(tmp_path, 12)
    patients = [str(number // 2 + number % 2) if number < 6 else f"p{number}" for number in range(24)]
    manifest = draw(tmp_path, images, [[1, 0]] * 24, draws=[Draw("val", 0.3, 1)], groups=patients)
    splits = [split for _, split, _ in rows(manifest)]
    assert len(set(splits[:6])) == 1
    assert {"train", "val"} == set(splits)


def test_a_draw_without_copies_is_as_before(tmp_path: Path) -> None:
    for number in range(30):
        picture(tmp_path / f"{number}.png", number)
    images = [f"{number}.png" for number in range(30)]
    targets = [[number % 2, number % 3 == 0] for number in range(30)]
    for groups in (None, [f"p{number // 2}" for number in range(30)]):
        draws = [Draw("val", 0.3, 1)]
        one, other = (
            draw(tmp_path, images, targets, draws=draws, groups=groups, duplicates=rule) for rule in ("keep", "group")
        )
        assert one.content_hash == other.content_hash


def test_the_more_protected_split_keeps_the_picture(tmp_path: Path) -> None:
    images = copies(tmp_path, 4)[:7]
    splits = ["train", "test", "val", "train", "train", "train", "val"]
    targets = [[1, 0], [0, 1], [1, 0], [1, 0], [0, 1], [1, -1], [1, 1]]
    notes: list[Fault] = []
    manifest = draw(tmp_path, images, targets, splits=splits, notes=notes)
    assert rows(manifest) == [
        ("0-copy.png", "test", [0, 1]),
        ("1.png", "val", [1, 0]),
        ("2.png", "train", [0, 1]),
        ("2-copy.png", "train", [1, -1]),
        ("3.png", "val", [1, 1]),
    ]
    assert [(fault.kind, fault.message) for fault in notes] == [
        (
            "copies with different labels",
            "'0-copy.png' and '0.png' differ in 'cat', 'dog'; each copy keeps its labels",
        ),
        ("copy in another split left out", "'0.png' in train: the picture of '0-copy.png' in test"),
        ("copy in another split left out", "'1-copy.png' in train: the picture of '1.png' in val"),
        (
            "copies with different labels",
            "'2.png' and '2-copy.png' differ in 'cat', 'dog'; each copy keeps its labels",
        ),
    ]


def test_drop_keeps_one_row_of_each_picture(tmp_path: Path) -> None:
    images = copies(tmp_path, 3)
    splits = ["train", "train", "val", "train", "train", "train"]
    targets = [[1, -1], [0, 0], [0, 0], [1, 1], [0, 1], [0, 1]]
    notes: list[Fault] = []
    manifest = draw(tmp_path, images, targets, splits=splits, notes=notes, duplicates="drop")
    # The labels of train's copy do not change those of val.
    assert rows(manifest) == [("0.png", "train", [1, 0]), ("1.png", "val", [0, 0]), ("2.png", "train", [0, 1])]
    assert [fault.kind for fault in notes].count("copy in the same split left out") == 2


def test_encoded_images_are_compared_too() -> None:
    manifest = draw(None, [b"a", b"b", b"a"], [[1, 0], [0, 1], [1, 0]], splits=["train", "train", "test"])
    assert manifest.table["bytes"].to_pylist() == [b"b", b"a"]


def test_an_unknown_treatment_of_copies_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="^duplicates: got 'x'; valid: keep, group, drop$"):
        draw(tmp_path, ["a"], [[1, 0]], duplicates="x")


def test_links_are_copies(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 0)
    os.link(tmp_path / "a.png", tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to("a.png")
    assert find_identical(["a.png", "b.png", "c.png"], tmp_path, "m").tolist() == [0, 0, 0]
