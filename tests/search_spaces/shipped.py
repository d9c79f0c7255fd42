"""The search files of the published datasets, and small data in the datasets' official layouts."""

import shlex
from collections.abc import Callable
from pathlib import Path

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import read_search_file
from tests.data.fixtures import write_adp, write_chest, write_coco, write_voc
from tests.support.command_line import kmcl

FOLDER = Path("search_spaces").absolute()

LAYOUTS: dict[str, Callable[[Path], object]] = {
    "voc2007": write_voc,
    "coco": lambda data: write_coco(data / "coco", "2014"),
    "adp": write_adp,
    "chestxray14": lambda data: write_chest(data / "ChestX-ray14"),
}
"""Functions that write the official layout into the folder `data`, which the commands in the files name."""

SMALL = {
    "data.image_size": 32,
    "data.batch_size": 2,
    "data.loader_processes": 0,
    "model.backbone": "test_resnet",
    "model.pretrained": False,
    "num_epochs": 2,
}
"""Values that make a trial small enough for a test; all others are those of the file."""


def read_shipped(name: str) -> SearchFile:
    return read_search_file(FOLDER / f"{name}.yaml")


def import_command(name: str) -> str:
    """The import command in the file's comments."""
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    (command,) = [line.removeprefix("#").strip() for line in lines if line.startswith("#   kmcl data import ")]
    return command


def import_data(name: str, root: Path) -> None:
    """Write the layout below root, which is the current folder, and run the file's command on it.

    So few images need a large `val`: a third of the images, or half of the patients. ADP has an official one.
    """
    LAYOUTS[name](root / "data")
    _, *words = shlex.split(import_command(name))
    if name != "adp":
        words += ["--val-fraction", "0.5" if name == "chestxray14" else "0.34"]
    done = kmcl(*words)
    assert done.exit_code == 0, done.output
