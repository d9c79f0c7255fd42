"""The Open Clip Art Library of 2005, as Debian packages it: 5,060 drawings, 68 classes.

    python -m benchmarks.datasets.openclipart OUT [--size 160]

The Debian package openclipart-png has the pictures. The package openclipart-svg has the same pictures as SVG, with the
same paths; the metadata of an SVG name its tags. The tags are the labels. OUT gets:

  images/*.jpg   the drawing, on white, padded to a square
  labels.csv     image, split (train, val, test), then a column of 0 and 1 for each class
  summary.json   counts, and what was left out
  cache/         the packages and their content (can be deleted afterwards)

A tag is a class if at least --min-images pictures have it. Pictures of identical content are one, with the tags of
all. Splits are 70/15/15, stratified by label. Pictures that look the same are in one split. The same version of the
packages gives the same labels and splits. A second run with the same options builds nothing (--force does).

The pictures are in the public domain. The command downloads 160 MB and needs Debian or Ubuntu (apt-get, dpkg-deb). It
takes three minutes on one core.
"""

import hashlib
import html
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from PIL import Image, ImageChops

from benchmarks.datasets.command import Dataset, run
from benchmarks.datasets.packages import debian_package
from benchmarks.datasets.table import Picture, clean_label

# These tags describe the file, the software or the author, and not the picture.
NO_CONTENT = {
    "11", "architetto_francesco_rollandin", "creation", "hash", "lemon_theme_icon", "magick", "miscellany",
    "openclipart", "signs_and_symbols", "special", "stock", "theme", "unsorted",
}  # fmt: skip
# Two words for one thing. Plurals are found by rule.
SAME = {
    "appicon": "application", "arrowshape": "arrow", "home": "house", "icecream": "ice_cream", "mapsym": "map_symbol",
    "mime-types": "mimetype", "mimetypes": "mimetype", "musicstuff": "music", "northamerica": "north_america",
    "transportation": "transport",
}  # fmt: skip
# A program drew a series of 1,375 star polygons. They would be a quarter of all pictures, so one of KEEP_EVERY stays.
SERIES_TAG, KEEP_EVERY = "magick", 5


@dataclass
class Drawing:
    """One content, which may be at several paths. It has the tags of all of them."""

    path: Path
    name: str
    tags: set[str] = field(default_factory=set)


def collect(cache: Path, size: int, left_out: Counter[str]) -> list[Picture]:
    """The pictures by content, in the order of their first path."""
    png, svg = (
        debian_package(cache, f"openclipart-{kind}") / "usr" / "share" / "openclipart" / kind for kind in ("png", "svg")
    )
    drawings = _thin_series(_read_drawings(png, svg, left_out), left_out)
    known = {tag for drawing in drawings for tag in drawing.tags}
    return [
        Picture(
            name=drawing.name.removesuffix(".png"),
            labels={clean_label(tag, known, SAME) for tag in drawing.tags - NO_CONTENT},
            draw=partial(draw_square, drawing.path, size),
        )
        for drawing in drawings
    ]


def _read_drawings(png: Path, svg: Path, left_out: Counter[str]) -> list[Drawing]:
    drawings: dict[str, Drawing] = {}
    for path in sorted(png.rglob("*.png")):
        name = path.relative_to(png)
        source = svg / name.with_suffix(".svg")
        if not path.is_file() or not source.is_file():
            left_out["without drawing"] += 1
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        left_out["identical files"] += digest in drawings
        drawing = drawings.setdefault(digest, Drawing(path, str(name)))
        drawing.tags |= read_tags(source.read_text("utf-8", "replace"))
    return list(drawings.values())


def _thin_series(drawings: list[Drawing], left_out: Counter[str]) -> list[Drawing]:
    kept = []
    series = 0
    for drawing in drawings:
        if SERIES_TAG in drawing.tags:
            series += 1
            if series % KEEP_EVERY:
                left_out["thinned series"] += 1
                continue
        kept.append(drawing)
    return kept


def read_tags(svg: str) -> set[str]:
    """The tags of a drawing: the list in its first dc:subject, in lower case, with `_` for white space."""
    subject = re.search(r"<dc:subject\b.*?</dc:subject>", svg, re.DOTALL)
    items = re.findall(r"<rdf:li[^>]*>([^<]*)</rdf:li>", subject.group()) if subject else []
    return {re.sub(r"[\s_]+", "_", html.unescape(item).strip().lower()) for item in items} - {""}


def draw_square(path: Path, size: int) -> Image.Image:
    """The drawing, on white, in the middle of a square. The empty part of its page is cut off."""
    # A few drawings have 200 million pixels, which Pillow takes for an attack.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        image = Image.open(path).convert("RGBA")
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    image.thumbnail((8 * size, 8 * size), Image.Resampling.LANCZOS)
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(image)
    drawn = page.convert("RGB")
    box = ImageChops.invert(drawn).convert("L").point(lambda level: 255 * (level > 8)).getbbox()
    if box:
        drawn = drawn.crop(box)
    scale = size / max(drawn.size)
    width, height = (max(1, round(side * scale)) for side in drawn.size)
    drawn = drawn.resize((width, height), Image.Resampling.LANCZOS)
    paper = Image.new("RGB", (size, size), "white")
    paper.paste(drawn, ((size - width) // 2, (size - height) // 2))
    return paper


OPENCLIPART = Dataset(
    name="openclipart",
    text=__doc__,
    source="Debian packages openclipart-png and openclipart-svg (public domain)",
    size=160,
    min_images=40,
    suffix=".jpg",
    collect=collect,
)

if __name__ == "__main__":
    sys.exit(run(OPENCLIPART))
