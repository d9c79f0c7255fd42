"""A folder of pictures with a CSV of their labels and splits, from pictures that can be drawn."""

import hashlib
import io
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from benchmarks.datasets.splits import SHARES, Keys, group_by_keys, looks, stratify
from kmcl_platform.errors import ConfigError
from kmcl_platform.files.atomic_write import atomic_file

FORMATS: dict[str, tuple[str, dict[str, int]]] = {".jpg": ("JPEG", {"quality": 90}), ".png": ("PNG", {})}
"""Pillow's format and its options for each suffix of a picture's file."""


@dataclass(eq=False)
class Picture:
    """One picture that may become a row of the dataset.

    Attributes:
        name: name of its file, without suffix. Characters other than ASCII letters and digits become `_`.
        labels: names of what it shows. Names that are no class are removed.
        draw: makes its pixels. Raises OSError if the source cannot be decoded.
        kin: pictures of the same kin are in one split, also if they do not look the same. Empty: of its own.
        image: path of the written file, relative to the dataset's folder. Empty: not written.
        keys: what decides with which other pictures it is in one split.
    """

    name: str
    labels: set[str]
    draw: Callable[[], Image.Image]
    kin: str = ""
    image: str = ""
    keys: Keys = ()


def clean_label(label: str, known: set[str], same: Mapping[str, str]) -> str:
    """One name for one thing: `same` maps a name to another one, and a plural becomes its singular if that is known.

    >>> clean_label("arrows", {"arrow", "arrows"}, {}), clean_label("home", set(), {"home": "house"})
    ('arrow', 'house')
    """
    label = same.get(label, label)
    if label.endswith("s") and label[:-1] in known:
        label = label[:-1]
    return same.get(label, label)


def keep_classes(pictures: Iterable[Picture], min_images: int) -> tuple[list[Picture], list[str]]:
    """Remove the labels that fewer than `min_images` pictures have.

    Returns:
        the pictures that have a label left, and the names of the classes, sorted.
    """
    pictures = list(pictures)
    counts = Counter(label for picture in pictures for label in picture.labels)
    classes = sorted(label for label, count in counts.items() if count >= min_images)
    for picture in pictures:
        picture.labels &= set(classes)
    return [picture for picture in pictures if picture.labels], classes


def write_dataset(
    out: Path, pictures: Sequence[Picture], left_out: Counter[str], *, min_images: int, seed: int, suffix: str
) -> pd.DataFrame:
    """Write `images/` and `labels.csv`.

    Args:
        out: folder of the dataset.
        pictures: in the order of the rows.
        left_out: reason and number of the pictures that are not in the dataset. It is added to.
        min_images: number of pictures that a class needs.
        seed: of the splits.
        suffix: of the pictures' files, a key of FORMATS.

    Returns:
        the table: image, split, then a column of 0 and 1 for each class.
    """
    most = max(Counter(label for picture in pictures for label in picture.labels).values(), default=0)
    # A picture without a class need not be drawn. Identical pictures lower the counts, so classes are chosen twice.
    kept, _ = keep_classes(pictures, min_images)
    drawn = _write_images(out, kept, left_out, suffix)
    rows, classes = keep_classes(drawn, min_images)
    if not rows:
        raise ConfigError(f"--min-images: got {min_images}; valid: at most {most}, the pictures of the commonest label")
    for picture in drawn:
        if not picture.labels:
            (out / picture.image).unlink()
    left_out["without a class"] = len(pictures) - len(kept) + len(drawn) - len(rows)

    targets = np.array([[label in picture.labels for label in classes] for picture in rows], dtype=np.int8)
    targets, classes, dropped = _distinct(targets, classes)
    if dropped:
        left_out["(classes equal to another: " + " ".join(dropped) + ")"] = len(dropped)
    groups = group_by_keys([picture.keys for picture in rows])
    split = stratify(targets, groups, seed)
    table = pd.DataFrame({"image": [picture.image for picture in rows], "split": split})
    table = pd.concat([table, pd.DataFrame(targets, columns=classes)], axis=1)
    with atomic_file(out / "labels.csv") as draft:
        table.to_csv(draft, index=False)
    left_out["(groups of similar pictures)"] = int((np.bincount(groups) > 1).sum())
    return table


def _write_images(out: Path, pictures: Iterable[Picture], left_out: Counter[str], suffix: str) -> list[Picture]:
    """Draw and write each picture. Pictures of identical content are one file, with the labels of all."""
    images = out / "images"
    shutil.rmtree(images, ignore_errors=True)
    images.mkdir(parents=True)
    format_name, options = FORMATS[suffix]
    by_content: dict[bytes, Picture] = {}
    for picture in pictures:
        try:
            pixels = picture.draw()
        except OSError:
            left_out["undecodable"] += 1
            continue
        if np.ptp(np.asarray(pixels)) < 8:
            left_out["blank"] += 1
            continue
        file = io.BytesIO()
        pixels.save(file, format_name, **options)
        key = hashlib.sha256(file.getvalue()).digest()
        if key in by_content:
            left_out["identical images"] += 1
            by_content[key].labels |= picture.labels
            continue
        by_content[key] = picture
        picture.keys = looks(pixels) + ((picture.kin.encode(),) if picture.kin else ())
        picture.image = "images/" + re.sub(r"[^A-Za-z0-9]+", "_", picture.name) + suffix
        # Two names may become equal; the number of the picture tells them apart.
        if (out / picture.image).exists():
            picture.image = picture.image.replace(suffix, f"_{len(by_content)}{suffix}")
        (out / picture.image).write_bytes(file.getvalue())
    return list(by_content.values())


def _distinct(targets: NDArray[np.int8], classes: list[str]) -> tuple[NDArray[np.int8], list[str], list[str]]:
    """The first of all classes that have the same pictures, and the names of the others."""
    seen: set[bytes] = set()
    keep = []
    for index in range(len(classes)):
        column = targets[:, index].tobytes()
        if column not in seen:
            keep.append(index)
        seen.add(column)
    dropped = [name for index, name in enumerate(classes) if index not in keep]
    return targets[:, keep], [classes[index] for index in keep], dropped


def summarize(table: pd.DataFrame) -> dict[str, Any]:
    """The counts of a table, as they are written into summary.json."""
    targets = table.drop(columns=["image", "split"])
    positives = targets.sum().sort_values(ascending=False)
    per_image = targets.sum(axis=1)
    by_split = {
        str(name): {"images": len(part), "fewest positives of a class": int(part.sum().min())}
        for name, part in targets.groupby(table["split"])
    }
    return {
        "images": len(table),
        "classes": len(positives),
        "splits": {name: by_split[name] for name in SHARES if name in by_split},
        "labels per image": round(float(per_image.mean()), 3),
        "images with two or more labels": round(float((per_image > 1).mean()), 3),
        "most labels of an image": int(per_image.max()),
        "imbalance (most / fewest positives)": round(float(positives.iloc[0] / positives.iloc[-1]), 1),
        "positives": {str(label): int(count) for label, count in positives.items()},
    }
