"""OpenMoji 17: 2,330 colour emoji, 73 classes, with the words that describe them.

    python -m benchmarks.datasets.openmoji OUT [--size 72]

The npm package openmoji has the emoji as SVG, and a table of them. The labels of an emoji are its tags and the names of
its group and subgroup. OUT gets:

  images/*.png   the emoji on white; the name of the file is its Unicode code points
  labels.csv     image, split (train, val, test), then a column of 0 and 1 for each class
  summary.json   counts, and what was left out
  cache/         the package and its content (can be deleted afterwards)

A label is a class if at least --min-images pictures have it. Variants of an emoji that differ in the skin's colour only
are left out. Splits are 70/15/15, stratified by label. Pictures that look the same are in one split, and so are the
man, the woman and the person of one emoji. A second run with the same options builds nothing (--force does).

OpenMoji's license is CC BY-SA 4.0. The command downloads 5 MB, needs npm and `pip install resvg-py==0.5.0`, and takes
ten seconds on one core.
"""

import csv
import importlib
import io
import re
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.datasets.command import Dataset, run
from benchmarks.datasets.packages import npm_package
from benchmarks.datasets.table import Picture, clean_label
from kmcl_platform.errors import DataError

VERSION = "17.0.0"
RENDERER = "resvg-py==0.5.0"

# Names of a leftover group, and words with several meanings or for a mood that the picture does not show.
NO_CONTENT = {
    "143", "component", "extras-openmoji", "extras-unicode", "human", "ily", "letter", "no", "not", "other-object",
    "other-symbol", "place-other", "plant-other", "symbol-other", "type",
}  # fmt: skip
# Two words for one thing, in this table: they have nearly the same pictures. Plurals are found by rule.
SAME = {
    "alphabet": "regional-indicator", "animal-bird": "bird", "coronavirus": "covid-19", "dessert": "sweet",
    "fairy": "fairytale", "food-fruit": "fruit", "food-sweet": "sweet", "ocean": "sea", "ornithology": "bird",
    "place-building": "building", "plant-flower": "flower", "pride_flag": "lgbtq", "prohibited": "forbidden",
    "queer": "lgbtq", "queer-symbols": "lgbtq", "smiling": "smile", "tale": "fairytale", "time": "clock",
    "upper_case": "regional-indicator",
}  # fmt: skip

# Signs of a sex and joiners; the man and the woman as the person; the pairs that hold hands as two persons who do.
SIGNS = {"200D", "2640", "2642", "FE0F"}
ADULTS = {
    "1F468": "1F9D1", "1F469": "1F9D1", "1F474": "1F9D3", "1F475": "1F9D3",
    "1F46B": "1F9D1-1F91D-1F9D1", "1F46C": "1F9D1-1F91D-1F9D1", "1F46D": "1F9D1-1F91D-1F9D1",
}  # fmt: skip


def collect(cache: Path, size: int, left_out: Counter[str]) -> list[Picture]:
    """One picture for each row of OpenMoji's table, in its order, without the variants of the skin's colour."""
    renderer = _renderer()  # before the download: it may be missing
    package = npm_package(cache, "openmoji", VERSION, ("color/svg/", "data/openmoji.csv"))
    with (package / "data" / "openmoji.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    described = [(row["hexcode"], read_words(row)) for row in rows if not row["skintone"]]
    left_out["variants of the skin's colour"] = len(rows) - len(described)
    known = {word for _, words in described for word in words}
    pictures = []
    for code, words in described:
        drawing = package / "color" / "svg" / f"{code}.svg"
        if not drawing.is_file():
            left_out["without drawing"] += 1
            continue
        labels = {clean_label(word, known, SAME) for word in words - NO_CONTENT}
        pictures.append(Picture(code, labels, partial(draw, renderer, drawing, size), kin=kin(code)))
    return pictures


def read_words(row: dict[str, str]) -> set[str]:
    """The words of one row, in lower case, with `_` for white space.

    >>> row = {"annotation": "women wrestling", "group": "people-body", "subgroups": "person-sport"}
    >>> sorted(read_words(row | {"tags": "man, Contact sport", "openmoji_tags": ""}))
    ['contact_sport', 'people-body', 'person-sport', 'woman']
    """
    listed = ",".join(row[column] for column in ("tags", "openmoji_tags", "group", "subgroups")).split(",")
    words = {re.sub(r"\s+", "_", word.strip().lower()) for word in listed} - {"", "man", "woman"}
    # Some emoji of a woman have the tag "man", others have neither. Their names are right, except "Isle of Man".
    if row["group"] != "flags":
        named = re.findall(r"\w+", row["annotation"].lower())
        words |= {sex for sex, plural in (("man", "men"), ("woman", "women")) if sex in named or plural in named}
    # Most flags of regions are in a group of additions, which has no name that says "flag".
    return words | {"flags"} if "subdivision-flag" in words else words


def kin(code: str) -> str:
    """The code points without the sex of adults: the man, the woman and the person of one emoji are near copies.

    >>> kin("1F3C3-200D-2640-FE0F"), kin("1F469-200D-1F692"), kin("1F468-200D-1F692"), kin("1F46D")
    ('1F3C3', '1F9D1-1F692', '1F9D1-1F692', '1F9D1-1F91D-1F9D1')
    """
    points = [ADULTS.get(point, point) for point in code.split("-") if point not in SIGNS]
    return "-".join(points)


def draw(renderer: Any, path: Path, size: int) -> Image.Image:
    """An SVG on white. All emoji have the same square page, which stays whole."""
    # Without the system's fonts the pixels are the same on every machine. OpenMoji draws its letters as paths.
    png = renderer.svg_to_bytes(svg_path=str(path), width=size, height=size, background="white", skip_system_fonts=True)
    return Image.open(io.BytesIO(png)).convert("RGB")


def _renderer() -> Any:
    try:
        return importlib.import_module("resvg_py")
    except ImportError as error:
        raise DataError(f"resvg_py: got no module of this name; valid: pip install {RENDERER}") from error


OPENMOJI = Dataset(
    name="openmoji",
    text=__doc__,
    source=f"npm package openmoji {VERSION}: OpenMoji (CC BY-SA 4.0), rendered with {RENDERER}",
    size=72,
    min_images=25,
    suffix=".png",
    collect=collect,
)

if __name__ == "__main__":
    sys.exit(run(OPENMOJI))
