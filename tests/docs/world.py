"""The folder in which the commands of the pages are run: small data under the names that the pages use."""

import csv
import json
import shutil
from pathlib import Path

from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.files.yaml_document import read_yaml
from tests.data.fixtures import write_adp, write_chest, write_coco, write_voc

SHIPPED = Path(__file__).parents[2] / "search_spaces"
NAMES = ("cat", "dog", "outdoor")
"""The classes of the tables. An image has them where the digits 0, 1 and 2 are."""


def write_world(root: Path, manifest: Path, database: Path) -> None:
    """Images, tables, official layouts, the demo's search file, and a store without searches.

    Args:
        root: an empty folder.
        manifest: digits, which a search of the digits uses here.
        database: an MLflow database without experiments.
    """
    samples = root / "kmcl_store" / "data" / "digits_samples"
    for folder in (root / "photos", root / "images", root / "search_spaces", samples):
        folder.mkdir(parents=True)
    shutil.copy(database, root / "kmcl_store" / "mlflow.db")
    digits, rows = read_manifest(manifest), []
    for number, labels in enumerate(digits.targets("train")[:96], 1):
        image = digits.encoded_image("train", number - 1)
        (root / "photos" / f"{number}.jpg").write_bytes(image)
        tags = ";".join(name for name, positive in zip(NAMES, labels[:3], strict=True) if positive)
        rows.append((f"photos/{number}.jpg", tags, number // 2))
    for number in (1, 2, 3):
        shutil.copy(root / "photos" / f"{number}.jpg", root / "images")
    shutil.copy(root / "photos" / "1.jpg", root / "photo.jpg")
    (samples / "digits-test-0000_labels-0-4.png").write_bytes(image)
    for name, head in (("labels.csv", ("image", "tags")), ("mine.csv", ("image", "tags", "patient"))):
        with (root / name).open("w", newline="") as file:
            csv.writer(file).writerows([head, *(row[: len(head)] for row in rows)])
    write_voc(root)
    write_adp(root)
    write_chest(root / "ChestX-ray14")
    write_coco(root / "coco")
    shutil.copy(SHIPPED / "digits.yaml", root / "search_spaces")
    make_small(root / "search_spaces" / "digits.yaml", manifest)


def make_small(file: Path, manifest: Path) -> None:
    """Change a search file so that its search takes seconds: few trials of one epoch of a small network."""
    tree = read_yaml(file.read_bytes(), file.name)
    assert isinstance(tree, dict)
    base = tree["base"]
    base["num_epochs"] = 1
    base["data"] |= {"image_size": 32, "batch_size": 16}
    base["model"] = {"backbone": "test_byobnet"}
    if base["data"]["source"] == "digits":
        base["data"]["source"] = str(manifest)
    tree["scheduler"], tree["resources"] = {"kind": "none"}, {}
    tree["budget"] = {"trials": 1 if "arms" in tree else 4}
    if "verdict" in tree:
        tree["verdict"] = {"seeds": 2}
    file.write_text(json.dumps(tree))
