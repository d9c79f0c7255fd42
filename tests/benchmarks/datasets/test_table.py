"""A folder of pictures and its CSV, as benchmarks/datasets writes them."""

import shlex
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.datasets.command import Dataset, run
from benchmarks.datasets.table import Picture, write_dataset
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.errors import DataError
from tests.support.command_line import kmcl


def noise(seed: int, size: int = 16) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def not_decodable() -> Image.Image:
    raise OSError("truncated")


def pictures(count: int, *labels: str, first: int = 0) -> list[Picture]:
    return [Picture(f"p {seed}", set(labels), partial(noise, seed)) for seed in range(first, first + count)]


def write(out: Path, given: list[Picture], min_images: int = 10) -> tuple[pd.DataFrame, Counter[str]]:
    left_out: Counter[str] = Counter()
    table = write_dataset(out, given, left_out, min_images=min_images, seed=0, suffix=".png")
    assert table.equals(pd.read_csv(out / "labels.csv", dtype={"split": str}).astype(table.dtypes.to_dict()))
    return table, left_out


def test_what_is_left_out_has_its_reason(tmp_path: Path) -> None:
    given = pictures(20, "star")
    given += [Picture("copy", {"star", "moon"}, partial(noise, 0))]
    given += [Picture("white", {"star"}, partial(Image.new, "RGB", (16, 16), "white"))]
    given += [Picture("broken", {"star"}, not_decodable), *pictures(9, "rare", first=50)]
    table, left_out = write(tmp_path, given)
    assert list(table.columns) == ["image", "split", "star"]
    assert len(table) == 20
    reasons = {reason: count for reason, count in left_out.items() if not reason.startswith("(")}
    assert reasons == {"identical images": 1, "blank": 1, "undecodable": 1, "without a class": 9}
    assert {f"images/{path.name}" for path in (tmp_path / "images").iterdir()} == set(table["image"])


def test_identical_pictures_are_one_with_the_labels_of_both(tmp_path: Path) -> None:
    copies = [Picture(f"copy {seed}", {"moon"}, partial(noise, seed)) for seed in range(10)]
    table, _ = write(tmp_path, [*pictures(20, "star"), *copies])
    assert len(table) == 20
    assert (table["star"].sum(), table["moon"].sum()) == (20, 10)


def test_pictures_of_the_same_kin_are_in_one_split(tmp_path: Path) -> None:
    given = [Picture(f"p{seed}", {"star"}, partial(noise, seed), kin=f"kin {seed // 4}") for seed in range(40)]
    table, left_out = write(tmp_path, given)
    assert left_out["(groups of similar pictures)"] == 10
    assert [len(set(table["split"][start : start + 4])) for start in range(0, 40, 4)] == [1] * 10


def test_a_class_with_the_pictures_of_another_is_dropped(tmp_path: Path) -> None:
    table, left_out = write(tmp_path, [*pictures(12, "cat", "kitten"), *pictures(12, "dog", first=20)])
    assert list(table.columns) == ["image", "split", "cat", "dog"]
    assert left_out["(classes equal to another: kitten)"] == 1


def test_a_picture_that_loses_its_class_loses_its_file(tmp_path: Path) -> None:
    """Ten pictures have the label, but two of them are identical: nine are too few for a class."""
    rare = [*pictures(9, "rare", first=50), Picture("again", {"rare"}, partial(noise, 50))]
    table, left_out = write(tmp_path, [*pictures(20, "star"), *rare])
    assert list(table.columns) == ["image", "split", "star"]
    assert left_out["without a class"] == 9
    assert len(list((tmp_path / "images").iterdir())) == 20


def test_names_that_become_equal_stay_two_files(tmp_path: Path) -> None:
    given = [Picture(name, {"star"}, partial(noise, seed)) for seed, name in enumerate(["a b", "a-b", "a/b"])]
    table, _ = write(tmp_path, given, min_images=3)
    assert sorted(table["image"]) == ["images/a_b.png", "images/a_b_2.png", "images/a_b_3.png"]


def dataset(calls: list[int], fails: bool = False) -> Dataset:
    def collect(cache: Path, size: int, left_out: Counter[str]) -> list[Picture]:
        calls.append(size)
        if fails:
            raise DataError("npm pack: got 'no network'; valid: npm")
        return [*pictures(30, "star"), *pictures(30, "moon", first=40)]

    return Dataset("sky", "Help.", "none", 16, 10, ".png", collect)


def test_a_second_run_builds_nothing_unless_its_options_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[int] = []
    out = [str(tmp_path / "sky")]
    assert run(dataset(calls), out) == 0
    first = capsys.readouterr().out
    assert run(dataset(calls), out) == 0
    assert capsys.readouterr().out == first
    assert "60 pictures, 2 classes" in first
    assert calls == [16]
    run(dataset(calls), [*out, "--seed", "1"])
    run(dataset(calls), [*out, "--seed", "1", "--force"])
    assert len(calls) == 3


def test_the_next_command_makes_the_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(dataset([]), [str(tmp_path / "my sky")])
    program, *words = shlex.split(capsys.readouterr().out.splitlines()[-1].removeprefix("next: "))
    answer = kmcl(*words)
    assert (program, answer.exit_code) == ("kmcl", 0), answer.output
    manifest = read_manifest(tmp_path / "my sky" / "sky.parquet")
    assert manifest.class_names == ("moon", "star")
    assert manifest.table.num_rows == 60


def test_a_build_that_failed_is_not_taken_for_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[int] = []
    out = str(tmp_path / "sky")
    run(dataset(calls), [out])
    assert run(dataset(calls, fails=True), [out, "--force"]) == 2
    assert capsys.readouterr().err == "npm pack: got 'no network'; valid: npm\n"
    assert run(dataset(calls), [out]) == 0
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--size", "8"], "--size: got 8; valid: 16 or more"),
        (["--min-images", "2"], "--min-images: got 2; valid: 3 or more"),
        (["--min-images", "31"], "--min-images: got 31; valid: at most 30, the pictures of the commonest label"),
        (["--seed", "-1"], "--seed: got -1; valid: 0 or more"),
    ],
)
def test_a_wrong_option_is_one_line(
    words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(dataset([]), [str(tmp_path / "sky"), *words]) == 2
    assert capsys.readouterr().err == line + "\n"


def test_a_word_that_the_command_does_not_know_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(dataset([]), ["sky", "--sise", "3"])
    assert end.value.code == 2
    assert capsys.readouterr().err == "python -m benchmarks.datasets.sky: unrecognized arguments: --sise 3\n"


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sky").write_text("mine")
    assert run(dataset([]), [str(tmp_path / "sky")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "sky").read_text() == "mine"
