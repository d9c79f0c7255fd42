"""The example of a reader in docs/plugins.md: `kmcl data import --plugin`."""

import shlex
from pathlib import Path

import pytest

from kmcl_platform.data.manifest.parquet import read_manifest
from tests.data.fixtures import picture
from tests.support.command_line import Answer, kmcl, kmcl_process
from tests.support.example import read_example

HEADING = "A reader of datasets"
PLUGIN, COMMAND = read_example(HEADING, "python"), read_example(HEADING, "text")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the plug-in and its dataset: 20 pictures with files of labels."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_reader.py").write_text(PLUGIN)
    (tmp_path / "pictures").mkdir()
    for number in range(20):
        picture(tmp_path / "pictures" / f"{number}.png", number)
        (tmp_path / "pictures" / f"{number}.labels").write_text("cat\ndog\n" if number % 2 else "cat\n")
    return tmp_path


def run(change: tuple[str, str] = ("", "")) -> Answer:
    """Run the command of the page, perhaps with a change."""
    assert change[0] in COMMAND
    words = shlex.split(COMMAND.replace(*change) if change[0] else COMMAND)
    assert words[0] == "kmcl"
    return kmcl(*words[1:])


def test_the_command_of_the_page_writes_a_manifest(folder: Path) -> None:
    answer = run()
    assert answer.exit_code == 0, answer.output
    manifest = read_manifest(folder / "mine.parquet")
    assert manifest.class_names == ("cat", "dog")
    assert [manifest.split(split).num_rows for split in ("train", "val", "test")] == [14, 2, 4]
    assert manifest.targets("train").sum(0).tolist() == [14, 7]
    assert manifest.encoded_image("test", 0)
    # The check names the command that repairs the manifest; it works from any folder, and with the same file.
    (folder / "pictures" / "0.png").write_bytes((folder / "pictures" / "1.png").read_bytes())
    run(("--ending", "--overwrite --ending"))
    checked = kmcl("data", "check", folder / "mine.parquet").stdout
    (line,) = [line for line in checked.splitlines() if line.startswith("to keep one row of each picture: ")]
    words = shlex.split(line.partition(": ")[2])
    plugin = str(folder / "my_reader.py")
    assert words[:8] == ["kmcl", "data", "import", "--plugin", plugin, "sidecar", "--ending", ".labels"]
    repaired = kmcl(*words[1:])
    assert repaired.exit_code == 0, repaired.output
    assert read_manifest(folder / "mine.parquet").table.num_rows == 19


def test_help_names_the_reader_and_its_options(folder: Path) -> None:
    # Python's cache of sources takes two files with the same relative path for one.
    start = ("data", "import", "--plugin", folder / "my_reader.py")
    assert "  sidecar " in kmcl(*start, "--help").stdout
    shown = kmcl(*start, "sidecar", "--help").stdout
    assert "--ending TEXT" in shown and "Ending of the files of labels." in shown and "--val-fraction" in shown


def test_rows_may_have_splits_and_groups(folder: Path) -> None:
    row = 'yield Row(picture.name, [label for label in labels if label], split="train", group=picture.stem[0])'
    (folder / "my_reader.py").write_text(PLUGIN[: PLUGIN.index("yield Row")] + row + "\n")
    assert run().exit_code == 0
    manifest = read_manifest(folder / "mine.parquet")
    # Without val, it is drawn out of train; without test there is none. The group 1 has eleven pictures.
    names = {split: manifest.split(split)["image"].to_pylist() for split in ("train", "val", "test")}
    assert names["test"] == [] and names["val"]
    assert {name.rpartition("/")[2][0] for name in names["val"]}.isdisjoint(
        name.rpartition("/")[2][0] for name in names["train"]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("my_reader.py", "no_reader.py"), "--plugin: got no_reader.py; valid: a Python file (*.py)"),
        (("--plugin my_reader.py ", ""), "No such command 'sidecar'"),
        (("--ending", "--endings"), "--endings"),
        (("--ending", "--val-fraction 1 --ending"), "--val-fraction: got 1.0; valid: a number below 1"),
        (("--ending .labels", ""), "plugins.my_reader: the reader sidecar raises FileNotFoundError: "),
        (("pictures/", "nothing/"), "nothing: got no rows; valid: one for each image"),
    ],
)  # fmt: skip
def test_wrong_commands(folder: Path, change: tuple[str, str], message: str) -> None:
    answer = run(change)
    assert answer.exit_code == 2
    assert message in answer.stderr and len(answer.stderr.strip().splitlines()) == 1, answer.stderr
    assert not (folder / "mine.parquet").exists()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("def rows(", "def lines(", "register('sidecar'): got a class without the method `rows`; valid: a class that"),
        ('"sidecar"', '"voc"', "register('voc'): got a reader that kmcl_platform.components.readers.voc has registered"),
        ("(RowReader)", "", "; valid: a class that inherits from a class of kmcl_platform.plugins"),
        ("yield Row(", "yield (", "the reader sidecar: row 0: got ('0.png', ['cat']); valid: Row(image, labels)"),
        ("picture.name", "'x' + picture.name", "row 0, column 'image': got 'x0.png'"),
        ("labels if label]", "labels if label], group=3", "row 0: got Row(image='0.png', labels=['cat'], split='', group=3)"),
        ("labels if label]", "labels if label], split=None", "labels as a list of texts, and split and group as texts"),
        ("[label for label in labels if label]", "[1]", "row 0: got Row(image='0.png', labels=[1], split='', group='')"),
        ("    ending: str", "    root: int = 1\n    ending: str", "register('sidecar'): got an option root, a name that the platfor"),
        ("    ending: str", "    w: list[int] = [1]\n    ending: str", "option w: got the type list[int]; valid: bool, int, "),
        ("for label in labels if label]", "for label in []]", "got no labels; valid: at least one row with a label"),
    ],
)  # fmt: skip
def test_wrong_code_is_one_line(folder: Path, before: str, after: str, message: str) -> None:
    assert before in PLUGIN
    (folder / "my_reader.py").write_text(PLUGIN.replace(before, after))
    answer = run()
    assert answer.exit_code == 2
    assert message in answer.stderr and len(answer.stderr.strip().splitlines()) == 1, answer.stderr
    assert not (folder / "mine.parquet").exists()


def test_the_names_of_the_platforms_readers_are_taken_before_they_are_loaded(folder: Path) -> None:
    (folder / "my_reader.py").write_text(PLUGIN.replace('"sidecar"', '"coco"'))
    # A process of its own, which has not loaded them.
    answer = kmcl_process("data", "import", "--plugin", "my_reader.py", "coco", "pictures", "o.parquet", folder=folder)
    assert answer.exit_code == 2
    taken = (
        "register('coco'): got a reader that kmcl_platform.components.readers.coco has registered; valid: another name"
    )
    assert answer.stderr == f"kmcl: plugins.my_reader: my_reader.py cannot be loaded: {taken}\n"
