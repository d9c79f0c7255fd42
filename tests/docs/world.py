"""The folder in which the commands of a page are run: small data under the names that the pages use, and a store."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np

from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.files.yaml_document import read_yaml
from tests.data.fixtures import write_adp, write_chest, write_coco, write_voc
from tests.support.command_line import kmcl
from tests.support.store_copy import copy_store

SHIPPED = Path(__file__).parents[2] / "search_spaces"


def write_data(root: Path, manifest: Path) -> None:
    """Images, tables and official layouts, under the names in the pages.

    Args:
        root: a new folder.
        manifest: the digits that every table and every search of digits has.
    """
    digits = read_manifest(manifest)
    rows = [("image", "tags", "patient")]
    for folder in ("photos", "images", "kmcl_store/data/digits_samples"):
        (root / folder).mkdir(parents=True)
    # More tags than digits would be needed for three classes of a usual size.
    names = ("cat", "dog", "outdoor")
    for number, labels in enumerate(digits.targets("train")[:96]):
        image = digits.encoded_image("train", number)
        tags = ";".join(name for name, positive in zip(names, labels, strict=False) if positive == 1)
        (root / "photos" / f"{number + 1}.jpg").write_bytes(image)
        rows.append((f"photos/{number + 1}.jpg", tags, str(number // 2)))
        if number < 3:
            (root / "images" / f"{number + 1}.jpg").write_bytes(image)
    for name in ("labels.csv", "mine.csv"):
        with (root / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    (root / "photo.jpg").write_bytes(image)
    for sample in ("0000_labels-0-4", "0001_labels-0-1-6"):
        (root / "kmcl_store/data/digits_samples" / f"digits-test-{sample}.png").write_bytes(image)
    for place in (root, root / "data"):
        write_voc(place)
        write_adp(place)
        write_chest(place / "ChestX-ray14")
    write_coco(root / "coco")
    write_coco(root / "data" / "coco", "2014")
    np.save(root / "embeddings.npy", np.zeros((3, 4), dtype=np.float32))
    (root / "search_spaces").mkdir()
    for path in SHIPPED.glob("*.yaml"):
        shutil.copy(path, root / "search_spaces")
        make_small(root / "search_spaces" / path.name, manifest)


def make_small(file: Path, manifest: Path) -> None:
    """Change a search file so that its search takes seconds: few trials of one epoch of a small network."""
    tree = read_yaml(file.read_bytes(), file.name)
    assert isinstance(tree, dict)
    data, model = tree["base"]["data"], tree["base"]["model"]
    data |= {"image_size": 32, "batch_size": 16, "loader_processes": 0, "augmentation": "none"}
    if data["source"] == "digits":
        data["source"] = str(manifest)
    elif data["source"].startswith("data/"):
        data["batch_size"] = 2  # The official layouts have a few images.
    model |= {"backbone": "test_byobnet", "pretrained": False}
    tree["base"]["num_epochs"] = 1
    tree["scheduler"], tree["resources"] = {"kind": "none"}, {}
    tree["budget"] = {"trials": 1 if "arms" in tree else 4}
    tree.pop("finalists", None)
    if "verdict" in tree:
        tree["verdict"] = {"seeds": 2}
    file.write_text(json.dumps(tree))


def make_store(root: Path, manifest: Path, database: Path) -> None:
    """`searched`: a store with the searches pets and digits, and their files. `promoted`: it has their champions too.

    Args:
        root: a new folder.
        manifest: the digits.
        database: an MLflow database without experiments.
    """
    data = root / "data"
    write_data(data, manifest)
    searched, promoted = root / "searched", root / "promoted"
    searched.mkdir()
    shutil.copy(database, searched / "mlflow.db")
    run("init", data / "labels.csv", "--name", "pets", "--out", data / "pets.yaml")
    make_small(data / "pets.yaml", manifest)
    for file in (data / "pets.yaml", data / "search_spaces" / "digits.yaml"):
        run("search", file, "--inline", "--store", searched)
    run("archive", "digits", "--to", data / "former.parquet", "--store", searched)
    copy_store(searched, promoted)
    for name in ("pets", "digits"):
        run("promote", name, "--store", promoted)


def run(*words: str | Path) -> None:
    """Run a command that has to succeed."""
    done = kmcl(*words)
    assert done.exit_code == 0, f"kmcl {' '.join(map(str, words))}\n{done.output}"
