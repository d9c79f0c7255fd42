"""`kmcl data import` with users' data: copies of pictures, names with spaces or not in UTF-8, huge cells."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from kmcl_platform.data.manifest.parquet import read_manifest
from tests.data.fixtures import picture, write_coco, write_csv
from tests.support.command_line import Answer, kmcl


def run(*words: str | Path) -> Answer:
    return kmcl("data", *words)


def run_line(output: str, start: str) -> Answer:
    """Run the command that a line of the output names."""
    line = next(line for line in output.splitlines() if line.startswith(start))
    words = shlex.split(line.removeprefix(start))
    assert words[:2] == ["kmcl", "data"]
    return run(*words[2:])


def write_copies(folder: Path, *, splits: bool = False) -> Path:
    """A table of 20 pictures, each under two names. With splits, half of the pictures are in two splits."""
    rows = []
    for number in range(20):
        picture(folder / f"{number}.png", number)
        shutil.copy(folder / f"{number}.png", folder / f"{number}-copy.png")
        for end, split in (("", "train"), ("-copy", "train" if number < 10 else ["VAL", "Test "][number % 2])):
            rows.append([f"{number}{end}.png", *([split] if splits else []), number % 2, 1 - number % 2])
    return write_csv(folder / "my table.csv", ["image", *(["split"] if splits else []), "cat", "dog"], rows)


def test_copies_stay_in_one_split_by_default(tmp_path: Path) -> None:
    out = tmp_path / "my out.parquet"
    answer = run("import", "table", write_copies(tmp_path), out)
    assert answer.exit_code == 0, answer.output
    assert "worth knowing" not in answer.stdout
    assert read_manifest(out).table.num_rows == 40
    checked = run_line(answer.stdout, "next: ")
    assert checked.exit_code == 0, checked.output
    assert "same content twice in a split: 20" in checked.stdout
    # The command that the check names keeps one row of each picture.
    dropped = run_line(checked.stdout, "to keep one row of each picture: ")
    assert "copy in the same split left out: 20" in dropped.stdout
    assert read_manifest(out).table.num_rows == 20
    checked = run("check", out)
    assert (checked.exit_code, "same content" in checked.stdout) == (0, False)


@pytest.mark.parametrize("splits", [False, True])
def test_the_check_names_the_command_that_repairs(
    splits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_copies(tmp_path, splits=splits)
    options = ["--duplicates", "keep", *([] if splits else ["--test-fraction", "0.3"])]
    answer = run("import", "table", *options, "my table.csv", "my out.parquet")
    assert answer.exit_code == 0, answer.output
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    checked = run("check", "../my out.parquet")
    assert checked.exit_code == 2
    assert "same content in two splits: " in checked.stdout
    repaired = run_line(checked.stdout, "next: ")
    assert repaired.exit_code == 0, repaired.output
    assert ("copy in another split left out: 10" in repaired.stdout) == splits
    manifest = read_manifest("../my out.parquet")
    assert [manifest.split(name).num_rows for name in ("val", "test")] == ([5, 5] if splits else [4, 12])
    assert run("check", "../my out.parquet").exit_code == 0


@pytest.mark.parametrize("start", ["next: ", "to keep one row of each picture: "])
def test_a_manifest_that_was_not_imported_is_repaired_too(start: str, tmp_path: Path) -> None:
    names = ["a.png", "b.png", "a2.png", "c.png", "d.png", "d2.png"]
    for number, name in enumerate(["a.png", "b.png", "c.png", "d.png"]):
        picture(tmp_path / name, number)
    for name in ("a", "d"):
        shutil.copy(tmp_path / f"{name}.png", tmp_path / f"{name}2.png")
    splits = ["train", "train", "test", "val", "train", "train"]
    path = tmp_path / "own data.parquet"
    pd.DataFrame({"image": names, "split": splits, "cat": [1, 1, 1, 1, 0, 0], "dog": [0, 1, 1, 0, 1, 0]}).to_parquet(
        path
    )
    checked = run("check", path)
    assert checked.exit_code == 2
    assert "same content with different labels: 2" in checked.stdout
    repaired = run_line(checked.stdout, start)
    assert repaired.exit_code == 0, repaired.output
    out = tmp_path / "own data-repaired.parquet"
    kept = read_manifest(out).table["image"].to_pylist()
    assert kept == ["b.png", "a2.png", "c.png", "d.png"] + (["d2.png"] if start == "next: " else [])
    assert run("check", out).exit_code == 0


def test_the_json_has_the_commands_that_repair(tmp_path: Path) -> None:
    out = tmp_path / "m.parquet"
    assert run("import", "table", write_copies(tmp_path, splits=True), out, "--duplicates", "keep").exit_code == 0
    repairs = json.loads(run("check", out, "--json").stdout)["repairs"]
    assert [repair["kinds"] for repair in repairs] == [
        ["same content in two splits"],
        ["same content twice in a split"],
    ]
    words = shlex.split(repairs[0]["command"])
    assert words[:3] == ["kmcl", "data", "import"]
    assert run(*words[2:]).exit_code == 0
    assert [repair["kinds"] for repair in json.loads(run("check", out, "--json").stdout)["repairs"]] == [
        ["same content twice in a split"]
    ]


def test_a_split_that_has_only_copies_is_refused(tmp_path: Path) -> None:
    rows = [["a.png", "train", 1], ["b.png", "train", 1], ["c.png", "val", 1], ["d.png", "test", 1]]
    table = write_csv(tmp_path / "t.csv", ["image", "split", "cat"], rows)
    for number, name in enumerate(["a", "c"]):
        picture(tmp_path / f"{name}.png", number)
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "d.png")
    for treatment in ("group", "drop"):
        answer = run("import", "table", table, tmp_path / "m.parquet", "--duplicates", treatment)
        assert answer.exit_code == 2
        assert answer.stderr == (
            "kmcl: t: split 'train': got 2 images, all of them copies of images in test and val; "
            "valid: images of its own in each split, or --duplicates keep\n"
        )
        assert not (tmp_path / "m.parquet").exists()
    assert run("import", "table", table, tmp_path / "m.parquet", "--duplicates", "keep").exit_code == 0


@pytest.mark.parametrize("treatment", ["group", "drop"])
def test_near_copies_are_a_warning_with_the_command_that_repairs(treatment: str, tmp_path: Path) -> None:
    first, second = (Image.fromarray(pixels) for pixels in load_sample_images().images)
    first.save(tmp_path / "a.png")
    first.save(tmp_path / "a.jpg", quality=75)
    second.save(tmp_path / "b.png")
    second.save(tmp_path / "b.webp")
    for number, name in enumerate(["c", "d"]):
        picture(tmp_path / f"{name}.png", number)
    rows = [["a.png", "train"], ["b.png", "train"], ["b.webp", "train"], ["c.png", "train"], ["d.png", "val"]]
    names = [*rows, ["a.jpg", "test"]]
    table = write_csv(tmp_path / "t.csv", ["image", "split", "cat"], [[*row, 1] for row in names])
    out = tmp_path / "m.parquet"
    assert run("import", "table", table, out).exit_code == 0
    checked = run("check", out)
    assert checked.exit_code == 0
    line = "  row 5, column 'image': got 'a.jpg' in test, which looks like row 0, 'a.png' in train"
    assert "near copies in two splits: 1" in checked.stdout.splitlines()
    assert line in checked.stdout.splitlines()
    if treatment == "group":
        repaired = run_line(checked.stdout, "to keep near copies in one split, after a look at them: ")
    else:
        options = ["--duplicates", "drop", "--near-duplicates", "--overwrite"]
        repaired = run("import", "table", table, out, *options)
    assert repaired.exit_code == 0, repaired.output
    kept = read_manifest(out).table["image"].to_pylist()
    assert kept == ["b.png", *(["b.webp"] if treatment == "group" else []), "c.png", "d.png", "a.jpg"]
    assert "near copies" not in run("check", out).stdout


def test_class_names_that_differ_only_by_case_are_shown(tmp_path: Path) -> None:
    rows = [["a.png", "train", "Cat|dog"], ["b.png", "val", "cat"], ["c.png", "test", "dog"]]
    table = write_csv(tmp_path / "t.csv", ["image", "split", "labels"], rows)
    answer = run("import", "table", table, tmp_path / "m.parquet", "--labels-column", "labels")
    line = "  got 'Cat', 'cat', which differ only in upper and lower case or spaces; they are 2 classes"
    assert line in answer.stdout.splitlines()
    assert line in run("check", tmp_path / "m.parquet").stdout.splitlines()


def test_every_reader_treats_copies(tmp_path: Path) -> None:
    write_coco(tmp_path)
    shutil.copy(tmp_path / "val2017" / "000000000042.jpg", tmp_path / "train2017" / "000000000049.jpg")
    words = ["import", "coco", tmp_path, tmp_path / "m.parquet", "--year", "2017", "--val-fraction", "0.3"]
    answer = run(*words)
    assert "copy in another split left out: 1\n  'train2017/000000000049.jpg' in train: the picture of" in answer.stdout
    assert read_manifest(tmp_path / "m.parquet").table.num_rows == 8
    assert run(*words, "--overwrite", "--duplicates", "keep").exit_code == 0
    assert read_manifest(tmp_path / "m.parquet").table.num_rows == 9


@pytest.mark.parametrize(("delimiter", "name"), [(";", "semicolon"), ("\t", "tab"), ("#", "#")])
def test_the_delimiter_is_detected_or_given(delimiter: str, name: str, tmp_path: Path) -> None:
    table = write_copies(tmp_path, splits=True)
    other = tmp_path / "other.tsv"
    other.write_text(table.read_text().replace(",", delimiter))
    for options in ([], ["--delimiter", name]):
        answer = run("import", "table", other, tmp_path / "m.parquet", "--overwrite", *options)
        if delimiter == "#" and not options:
            assert answer.exit_code == 2
            assert "columns: 'image' (--image-column) missing; got 'image#split#cat#dog'; valid: " in answer.stderr
        else:
            assert answer.exit_code == 0, answer.output
            assert read_manifest(tmp_path / "m.parquet").class_names == ("cat", "dog")


def test_a_folder_name_that_is_not_utf8_works_next_to_the_images(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9"))
    rows = [[f"{split}.png", split, 1] for split in ("train", "val", "test")]
    folder.mkdir()
    table = write_csv(folder / "t.csv", ["image", "split", "cat"], rows)
    # Next to the images, their paths are relative, and the folder's name is not needed.
    inside = run("import", "table", table, folder / "m.parquet")
    assert inside.exit_code == 0, inside.output
    assert "d\\xe9/m.parquet" in inside.stdout
    # The command of the next line can be pasted into a shell.
    command = inside.stdout.splitlines()[-1].removeprefix("next: ")
    words = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True).stdout
    assert words.split(b"\0")[:-1] == [b"kmcl", b"data", b"check", os.fsencode(folder / "m.parquet")]
    checked = run("check", folder / "m.parquet")
    assert (checked.exit_code, "data.source: " in checked.stdout) == (0, True)
    assert "d\\xe9/m.parquet" in json.loads(run("check", folder / "m.parquet", "--json").stdout)["manifest"]
    outside = run("import", "table", table, tmp_path / "m.parquet")
    assert (outside.exit_code, outside.stderr.count("\n")) == (2, 1)
    assert "kmcl: d\\xe9/train.png: got a name on the disk that is not UTF-8; valid: a manifest that" in outside.stderr
    assert not (tmp_path / "m.parquet").exists()
    missing = run("check", folder / "none.parquet")
    assert (missing.exit_code, missing.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("column", range(4))
def test_a_huge_cell_makes_a_short_message(column: int, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 0)
    row = ["a.png", "train", "1", "g"]
    row[column] = "x" * 3_000_000
    (tmp_path / "t.csv").write_text("image,split,cat,group\n" + ",".join(row) + "\n")
    for options in (
        ["--group-column", "group"],
        ["--labels-column", "cat"],
        ["--classes", "cat", "--image-column", "group"],
    ):
        answer = run("import", "table", tmp_path / "t.csv", tmp_path / "m.parquet", *options)
        assert answer.exit_code == 2
        assert len(answer.output) < 5000
        assert answer.stderr.startswith("kmcl: ")
