"""`kmcl data`: the files that it writes, its output, and its errors."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.plugins import Reader, list_components
from tests.data.fixtures import picture, write_adp, write_chest, write_coco, write_csv, write_voc
from tests.support.command_line import Answer, kmcl


def run(*words: str | Path) -> Answer:
    return kmcl("data", *words)


def write_own_manifest(root: Path) -> Path:
    """A manifest that a user has made with pandas; its three images are different."""
    names = [f"{split}.png" for split in ("train", "val", "test")]
    for number, name in enumerate(names):
        picture(root / name, number)
    frame = pd.DataFrame({"image": names, "split": ["train", "val", "test"], "cat": [1, 1, 1], "dog": [0, 1, 0]})
    frame.to_parquet(root / "own.parquet")
    return root / "own.parquet"


WRITERS: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "voc": (write_voc, ["--year", "2007", "--val-fraction", "0.3"]),
    "coco": (write_coco, ["--year", "2017", "--val-fraction", "0.3"]),
    "adp": (write_adp, ["--level", "L1"]),
    "chestxray14": (write_chest, ["--val-fraction", "0.3"]),
    "table": (
        lambda root: write_csv(
            root / "t.csv", ["image", "split", "cat"], [[f"{s}.png", s, 1] for s in ("train", "val", "test")]
        ),
        [],
    ),
    "manifest": (
        write_own_manifest,
        [],
    ),
}


def test_every_reader_has_a_command_and_a_test() -> None:
    shown = run("import", "--help").output
    assert set(WRITERS) == set(list_components(Reader, built_in=True))
    assert all(f"  {kind} " in shown for kind in WRITERS)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("below", [True, False])
def test_import(kind: str, below: bool, tmp_path: Path) -> None:
    write, options = WRITERS[kind]
    (tmp_path / "official").mkdir()
    root = write(tmp_path / "official")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "official").rglob("*") if path.is_file()}
    # Images below the manifest's folder have relative paths, others absolute ones. Both must open.
    out = (tmp_path if below else tmp_path / "elsewhere" / "deep") / "m.parquet"
    answer = run("import", kind, root, out, *options)
    assert answer.exit_code == 0, answer.output
    manifest = read_manifest(out)
    paths = [Path(image) for image in manifest.table["image"].to_pylist()]
    assert {path.is_absolute() for path in paths} == {not below}
    for split in ("train", "val", "test"):
        for row in range(manifest.split(split).num_rows):
            assert manifest.encoded_image(split, row)
    assert f"{manifest.table.num_rows} images, {len(manifest.class_names)} classes" in answer.stdout
    assert f"written: {out}" in answer.stdout
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "official").rglob("*") if path.is_file()}
    assert before == after


def test_import_prints_a_table_of_the_splits(tmp_path: Path) -> None:
    rows = [["a.png", "train", 1, 1], ["b.png", "train", 0, 0], ["c.png", "val", -1, 1], ["d.png", "test", 0, 0]]
    path = write_csv(tmp_path / "t.csv", ["image", "split", "cat", "dog"], rows)
    lines = run("import", "table", path, tmp_path / "m.parquet").stdout.splitlines()
    cells = {" ".join(line.split()[:-4]): line.split()[-4:] for line in lines if len(line.split()) > 4}
    assert cells["images"] == ["2", "1", "1", "4"]
    assert cells["labels per image"] == ["1.00", "1.00", "0.00", "0.75"]
    assert cells["unknown labels"] == ["0", "1", "0", "1"]
    assert cells["all-negative images"] == ["1", "0", "1", "2"]
    assert cells["positive: cat"] == ["1", "0", "0", "1"]
    assert cells["positive: dog"] == ["1", "1", "0", "2"]


def test_a_faulty_table_shows_all_faults_and_writes_nothing(tmp_path: Path) -> None:
    rows = [[f"no{number}.png", "train", 1] for number in range(8)] + [["a.png", "dev", 5]]
    path = write_csv(tmp_path / "t.csv", ["image", "split", "cat"], rows)
    answer = run("import", "table", path, tmp_path / "m.parquet")
    assert answer.exit_code == 2
    assert "missing image: 8" in answer.stdout
    assert "row 4, column 'image': got 'no4.png'" in answer.stdout
    assert "row 5, column 'image'" not in answer.stdout
    assert "… and 3 more" in answer.stdout
    assert "row 8, column 'cat': got '5'; valid: 1, 0 or -1" in answer.stdout
    assert answer.stderr.strip().splitlines()[-1].startswith(f"kmcl: {path}: row 8, column 'split': got 'dev'")
    assert sorted(name for name in os.listdir(tmp_path) if "parquet" in name) == []


def test_import_overwrites_only_with_the_option(tmp_path: Path) -> None:
    path = WRITERS["table"][0](tmp_path)
    out = tmp_path / "m.parquet"
    assert run("import", "table", path, out).exit_code == 0
    first = out.read_bytes()
    answer = run("import", "table", path, out)
    assert answer.exit_code == 2
    assert answer.stderr == f"kmcl: {out}: exists; valid: a new file, or --overwrite (in Python overwrite=True)\n"
    assert out.read_bytes() == first
    path.write_text(path.read_text().replace("cat", "dog"))
    assert run("import", "table", path, out, "--overwrite").exit_code == 0
    assert read_manifest(out).class_names == ("dog",)


def test_an_import_never_replaces_the_file_that_it_reads(tmp_path: Path) -> None:
    path = WRITERS["table"][0](tmp_path)
    own = tmp_path / "own.parquet"
    pd.read_csv(path).assign(patient="7").to_parquet(own)
    link = tmp_path / "link.parquet"
    link.symlink_to(own)
    before = own.read_bytes()
    for kind, options in (("table", ["--classes", "cat"]), ("manifest", [])):
        for out in (own, link):
            answer = run("import", kind, own, out, "--overwrite", *options)
            assert answer.exit_code == 2
            assert answer.stderr == f"kmcl: OUT: got {out}, the file that is read; valid: another file\n"
    assert own.read_bytes() == before


def test_a_failed_import_keeps_the_old_file(tmp_path: Path) -> None:
    path = WRITERS["table"][0](tmp_path)
    out = tmp_path / "m.parquet"
    run("import", "table", path, out)
    first = out.read_bytes()
    path.write_text(path.read_text().replace("train,1", "train,9"))
    assert run("import", "table", path, out, "--overwrite").exit_code == 2
    assert out.read_bytes() == first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("voc", "none", "m.parquet", "--year", "2007"), "none: not the official layout: ImageSets/Main is missing"),
        (("voc", "none", "m.csv", "--year", "2007"), "m.csv: got a name that ends in '.csv'; valid: the path of a manifest"),
        (("table", "none.csv", "m.parquet"), "none.csv: cannot be read: No such file or directory"),
        (("chestxray14", "none", "m.parquet"), "the table is missing"),
        (("adp", "none", "m.parquet", "--level", "L1"), "ADP_EncodedLabels_Release1_Flat.csv is missing"),
        (("coco", "none", "m.parquet", "--year", "2014"), "annotations/instances_train2014.json is missing"),
    ],
)  # fmt: skip
def test_a_wrong_root_gives_one_line(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = run("import", *words)
    assert answer.exit_code == 2
    assert message in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert os.listdir(tmp_path) == []


def imported(folder: Path) -> Path:
    """A manifest of three images."""
    path = WRITERS["table"][0](folder)
    assert run("import", "table", path, folder / "m.parquet").exit_code == 0
    return folder / "m.parquet"


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "table"])
def test_check_accepts_an_imported_dataset(kind: str, tmp_path: Path) -> None:
    write, options = WRITERS[kind]
    out = tmp_path / "m.parquet"
    assert run("import", kind, write(tmp_path), out, *options).exit_code == 0
    document = json.loads(run("check", out, "--json").stdout)
    # Splits of so few images lack some labels. Nothing else may be wrong.
    assert set(document["counts"]) <= {"split without a label"}


def test_check_accepts_a_good_manifest(tmp_path: Path) -> None:
    out = imported(tmp_path)
    answer = run("check", out)
    assert answer.exit_code == 0
    assert "t: 3 images, 1 classes" in answer.stdout
    assert f"fit for a search: data.source: {out}" in answer.stdout
    assert answer.stderr == ""


def test_check_shows_every_kind_of_fault_with_its_count(tmp_path: Path) -> None:
    out = imported(tmp_path)
    before = out.read_bytes()
    (tmp_path / "val.png").write_text("no image")
    (tmp_path / "test.png").write_bytes((tmp_path / "train.png").read_bytes())
    answer = run("check", out)
    assert answer.exit_code == 2
    assert "unreadable image: 1\n  row 1, column 'image': got 'val.png'" in answer.stdout
    assert "same content in two splits: 1\n  row 2, column 'image': got 'test.png' in test" in answer.stdout
    assert answer.stderr == f"kmcl: {out}: 2 faults; a search on it would be wrong\n"
    assert out.read_bytes() == before
    answer = run("check", out, "--json")
    assert answer.exit_code == 2
    assert json.loads(answer.stdout)["counts"] == {"unreadable image": 1, "same content in two splits": 1}


def test_check_names_a_missing_file(tmp_path: Path) -> None:
    answer = run("check", tmp_path / "none.parquet")
    assert answer.exit_code == 2
    assert answer.stderr == f"kmcl: {tmp_path}/none.parquet: no such file; valid: the path of a manifest (*.parquet)\n"


def test_describe_writes_a_page_next_to_the_manifest(tmp_path: Path) -> None:
    out = imported(tmp_path)
    assert f"next: kmcl data describe {out}\n" in run("check", out).stdout
    answer = run("describe", out)
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.endswith(f"written: {tmp_path / 'm.html'}\n")
    assert "t: 3 images, 1 classes" in answer.stdout
    page = (tmp_path / "m.html").read_text()
    assert read_manifest(out).content_hash in page
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.name.startswith(("m", ".m"))) == [
        ".html",
        ".parquet",
    ]


def test_describe_overwrites_only_with_the_option(tmp_path: Path) -> None:
    out, page = imported(tmp_path), tmp_path / "deep" / "page.html"
    assert run("describe", out, page).exit_code == 0
    page.write_text("mine")
    answer = run("describe", out, page)
    assert answer.exit_code == 2
    assert answer.stderr == f"kmcl: {page}: exists; valid: a new file, or --overwrite (in Python overwrite=True)\n"
    assert page.read_text() == "mine"
    assert run("describe", out, page, "--overwrite").exit_code == 0
    assert page.read_text().startswith("<!doctype html>")


def test_describe_names_a_missing_file_and_a_wrong_page_name(tmp_path: Path) -> None:
    answer = run("describe", tmp_path / "none.parquet")
    assert answer.exit_code == 2
    assert answer.stderr == f"kmcl: {tmp_path}/none.parquet: no such file; valid: the path of a manifest (*.parquet)\n"
    answer = run("describe", imported(tmp_path), tmp_path / "page.txt")
    assert answer.exit_code == 2
    assert (
        answer.stderr
        == f"kmcl: {tmp_path}/page.txt: got a name that ends in '.txt'; valid: the path of a page (*.html)\n"
    )
