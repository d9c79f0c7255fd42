"""`kmcl init`: from data to a search file that can be planned, without a question."""

import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.search.plan import first_file as module
from kmcl_platform.search.plan.first_file import DatasetFacts, Machine, first_file, search_name
from tests.support.command_line import kmcl


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """80 pictures in a folder, and the table of their labels beside it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "My Data" / "images").mkdir(parents=True)
    rows = [("image", "tags")]
    for place in range(80):
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(f"My Data/images/{place}.png")
        rows.append((f"{place}.png", "|".join(name for name in ("cat", "dog", "owl") if rng.random() < 0.5)))
    with open("My Data/labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return Path("My Data")


def test_a_folder_with_a_table_becomes_a_search_file(table: Path) -> None:
    done = kmcl("init", table)
    assert done.exit_code == 0, done.output
    file, manifest = read_search_file(Path("my_data.yaml")), read_manifest(Path("my_data.parquet"))
    assert (file.name, file.base.data.source) == ("my_data", "my_data.parquet")
    assert manifest.class_names == ("cat", "dog", "owl")
    assert (file.base.data.batch_size, file.base.num_epochs) == (8, 20)
    assert "labels.csv is the only table in" in done.stdout and "next: kmcl plan my_data.yaml" in done.stdout
    assert "# Data: 58 training images, 3 classes, " in Path("my_data.yaml").read_text()
    # Nothing is replaced without being asked for.
    again = kmcl("init", table)
    assert (again.exit_code, again.stderr) == (
        2, "kmcl: my_data.yaml: exists; valid: a new file, or --overwrite (in Python overwrite=True)\n"
    )  # fmt: skip
    assert kmcl("init", table, "--overwrite").exit_code == 0
    # The manifest keeps how it was made, for the check's remedies.
    assert kmcl("data", "check", "my_data.parquet").exit_code == 0


def test_class_folders_get_a_table(table: Path) -> None:
    for name in ("cat", "dog"):
        Path("sorted", name).mkdir(parents=True)
    for place, picture in enumerate(sorted((table / "images").iterdir())):
        picture.rename(Path("sorted", ("cat", "dog")[place % 2], picture.name))
    done = kmcl("init", "sorted", "--name", "pets")
    assert done.exit_code == 0, done.output
    assert read_manifest(Path("pets.parquet")).class_names == ("cat", "dog")
    assert Path("pets_labels.csv").read_text().startswith("image,label\ncat/0.png,cat\n")


@pytest.mark.parametrize("gpus", [0, 2])
@pytest.mark.parametrize("train", [60, 900, 40_000])
@pytest.mark.parametrize("side", [32, 100, 1200])
def test_every_file_it_can_write_is_valid(gpus: int, train: int, side: int, tmp_path: Path) -> None:
    facts = DatasetFacts(train=train, classes=4, labels=1.5, imbalance=20, empty=1, side=side, unknown=True)
    path = tmp_path / "s.yaml"
    path.write_text(first_file("s", "s.parquet", facts, Machine(cpus=8, gpus=gpus)))
    file = read_search_file(path)
    assert file.resources.gpus_per_worker == bool(gpus)
    assert file.base.data.image_size == (64 if not gpus else {32: 64, 100: 96, 1200: 224}[side])
    assert file.base.data.batch_size * 8 <= max(train, 64)
    assert (file.finalists is not None) == bool(gpus)
    assert max(len(line) for line in path.read_text().splitlines()) <= 125


@pytest.mark.parametrize(
    "source", ["my data: new.parquet", "a #1.parquet", 'it\'s "quoted".parquet', "Bäume\\x.parquet"]
)
def test_any_path_of_a_manifest_can_be_written(source: str, tmp_path: Path) -> None:
    facts = DatasetFacts(train=60, classes=4, labels=1.5, imbalance=20, empty=0, side=64, unknown=False)
    path = tmp_path / "s.yaml"
    path.write_text(first_file("s", source, facts, Machine(cpus=2, gpus=0)))
    assert read_search_file(path).base.data.source == source


def test_free_text_is_no_set_of_classes(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CLASSES", 50)
    rows = (table / "labels.csv").read_text().splitlines()
    words = [f"{line.split(',')[0]},a walk number {place}" for place, line in enumerate(rows[1:])]
    (table / "labels.csv").write_text("\n".join(["image,tags", *words]) + "\n")
    refused = kmcl("init", table)
    assert refused.exit_code == 2
    assert "got 80 classes" in refused.stderr and "valid: at most 50" in refused.stderr
    assert not list(Path().glob("my_data*"))


def test_a_name_is_made_of_any_words() -> None:
    assert [search_name(words) for words in ("My Data", "Ärzte-2024", "***", "x" * 80)] == [
        "my_data", "rzte_2024", "my_search", "x" * 40
    ]  # fmt: skip


def test_a_name_that_is_not_valid_leaves_nothing(table: Path) -> None:
    refused = kmcl("init", table, "--name", "Not Good")
    assert refused.exit_code == 2 and refused.stderr.startswith("kmcl: ") and "--name: got 'Not Good'" in refused.stderr
    assert not list(Path().glob("Not Good*"))


def contents() -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in sorted(Path().iterdir()) if one.is_file()}


def class_folders(table: Path) -> Path:
    for place, picture in enumerate(sorted((table / "images").iterdir())):
        folder = Path("sorted", ("cat", "dog")[place % 2])
        folder.mkdir(parents=True, exist_ok=True)
        picture.rename(folder / picture.name)
    return Path("sorted")


def test_damaged_pictures_do_not_matter_unless_all_are(table: Path) -> None:
    for place in range(40):
        (table / "images" / f"{place}.png").write_bytes(b"x" * place)
    assert kmcl("init", table, "--name", "pets").exit_code == 0
    for place in range(80):
        (table / "images" / f"{place}.png").write_bytes(b"x" * (place + 1))
    refused = kmcl("init", table, "--name", "others")
    assert refused.exit_code == 2 and re.fullmatch(
        r"kmcl: .*My Data/images/\d+\.png: got no image \(UnidentifiedImageError.*\); valid: an image file\n",
        refused.stderr,
    )
    assert not list(Path().glob("others*"))


def test_a_command_that_fails_changes_nothing(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = class_folders(table)
    Path("sorted_labels.csv").write_text("the user's own\n")
    Path("sorted.yaml").write_text("the user's own search\n")
    assert kmcl("init", folders).exit_code == 2
    before = contents()
    monkeypatch.setattr(module, "MOST_CLASSES", 1)
    refused = kmcl("init", folders, "--overwrite")
    assert refused.exit_code == 2 and "got 2 classes" in refused.stderr
    assert contents() == before
    monkeypatch.setattr(module, "MOST_CLASSES", 1000)
    assert kmcl("init", folders, "--overwrite").exit_code == 0
    assert contents().keys() == before.keys() | {"sorted.parquet"}
    assert contents()["sorted_labels.csv"].startswith(b"image,label\n")


def test_the_name_of_the_search_is_that_of_its_manifest(table: Path) -> None:
    assert kmcl("init", table / "labels.csv", "--name", "pets").exit_code == 0
    assert read_manifest(Path("pets.parquet")).name == "pets"


def test_a_table_without_a_header(table: Path) -> None:
    rows = (table / "labels.csv").read_text().splitlines()
    (table / "labels.csv").write_text("\n".join(rows[1:]) + "\n")
    refused = kmcl("init", table)
    assert (refused.exit_code, refused.stderr) == (
        2,
        "kmcl: My Data/labels.csv: got '0.png' as the name of a column, which is a picture; valid: a first row with the "
        "names of the columns, such as image and labels\n",
    )


def test_data_and_places_that_cannot_be_used(table: Path) -> None:
    folders = class_folders(table)
    Path("cut.parquet").write_bytes(b"PAR1xxxx")
    os.mkfifo("pipe.csv")
    Path("loop").symlink_to("loop")
    Path("few").mkdir()
    Path("few/labels.csv").write_text("image,tags\na.png,cat\n")
    Image.new("RGB", (40, 40)).save("few/a.png")
    before, missing = contents(), Path("nothing") / "y.yaml"
    for words, message in (
        ((folders, "--out", missing), f"--out: got {missing}; valid: a path in a folder that exists"),
        ((folders, "--out", "/proc/x.yaml"), "/proc/x_labels.csv: cannot be written: "),
        (("cut.parquet",), "cut.parquet: cannot be read: "),
        (("pipe.csv",), "pipe.csv: got a pipe or a device; valid: a table of labels, or a folder of pictures"),
        (("loop",), "loop: no such file or folder; valid: "),
        (("few/labels.csv",), "few/labels.csv: split 'test' drawn out of 'train': got 1 images to draw from; valid: "),
    ):
        refused = kmcl("init", *words)
        assert refused.exit_code == 2 and refused.stderr.startswith(f"kmcl: {message}"), refused.output
        assert len(refused.stderr.splitlines()) == 1
    next((folders / "cat").iterdir()).rename(folders / "cat" / "\udce9.png")
    refused = kmcl("init", folders)
    assert refused.exit_code == 2
    assert refused.stderr == "kmcl: sorted/cat/\\xe9.png: got a name that is not UTF-8; valid: rename it\n"
    assert contents() == before
