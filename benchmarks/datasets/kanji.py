"""Chinese characters as the Japanese write them: the 6,355 kanji of JIS X 0208, and the components that each has.

    python -m benchmarks.datasets.kanji OUT [--size 64]

The Debian package kiten has RADKFILE, which lists for each of 253 components the kanji that contain it: 林 (wood)
contains 木 (tree). The package fonts-ipafont-gothic has the font. The components are the labels. OUT gets:

  images/*.png   one character, black on white with grey edges; the name of the file is its Unicode code point
  labels.csv     image, split (train, val, test), then a column of 0 and 1 for each class
  summary.json   counts, and what was left out
  cache/         the packages and their content (can be deleted afterwards)

A component is a class if at least --min-images characters have it. Components of a single stroke are left out: nearly
every character has such strokes, and the file names them in a few only. Classes have English names, those of Unicode
where it has one: plots and reports then need no Japanese font. Splits are 70/15/15, stratified by label. Characters
that look the same are in one split. A second run with the same options builds nothing (--force does).

RADKFILE is the property of the Electronic Dictionary Research and Development Group; its license is CC BY-SA 3.0. The
font has the IPA Font License 1.0. The command downloads 5 MB and needs Debian or Ubuntu (apt-get, dpkg-deb). It takes
ten seconds on one core.
"""

import sys
import unicodedata
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from benchmarks.datasets.command import Dataset, run
from benchmarks.datasets.packages import debian_package
from benchmarks.datasets.table import Picture
from kmcl_platform.errors import DataError

# RADKFILE is older than Unicode's names of components. Where its character set lacks a component, a kanji that
# contains it stands for it: 汁 stands for the water on its left. Others are kanji without a radical's name in Unicode.
NAMES = {
    "化": "man_left", "个": "man_top", "乞": "man_slanted", "ハ": "eight", "并": "two_dots_top", "刈": "knife_right",
    "込": "walk_left", "尚": "small_top", "已": "oneself", "ヨ": "snout", "忙": "heart_left", "扎": "hand_left",
    "汁": "water_left", "犯": "dog_left", "艾": "grass_top", "邦": "city_right", "阡": "mound_left",
    "老": "old_top", "攵": "tap_right", "杰": "fire_bottom", "王": "king", "勿": "must_not", "疔": "sickness",
    "初": "clothes_left", "買": "net_top", "西": "west", "礼": "spirit_left", "禹": "track", "滴": "drop_right",
}  # fmt: skip


def collect(cache: Path, size: int, left_out: Counter[str]) -> list[Picture]:
    """One picture for each kanji, in the order of Unicode."""
    radkfile = debian_package(cache, "kiten") / "usr" / "share" / "kiten" / "radkfile"
    fonts = debian_package(cache, "fonts-ipafont-gothic") / "usr" / "share" / "fonts" / "opentype" / "ipafont-gothic"
    # The characters fill seven eighths of the picture. The basic layout is part of every Pillow.
    font = ImageFont.truetype(fonts / "ipag.ttf", size * 7 // 8, layout_engine=ImageFont.Layout.BASIC)
    absent = bytes(font.getmask("\uffff"))
    pictures = []
    for kanji, components in sorted(read_components(radkfile.read_text("euc-jp")).items()):
        if bytes(font.getmask(kanji)) == absent:
            left_out["without glyph"] += 1
            continue
        name = f"U+{ord(kanji):04X}"
        pictures.append(Picture(name, components, partial(draw, font, kanji, size)))
    return pictures


def read_components(radkfile: str) -> dict[str, set[str]]:
    """The names of the components of each kanji, without components of a single stroke.

    A line `$ 木 4` names a component and its number of strokes. The lines after it are the kanji that contain it.
    """
    components: dict[str, set[str]] = defaultdict(set)
    names: dict[str, str] = {}
    name, strokes = "", 0
    for line in radkfile.splitlines():
        if line.startswith("$"):
            _, component, number, *_ = line.split()
            name, strokes = component_name(component), int(number)
            if (other := names.setdefault(name, component)) != component:
                raise DataError(f"radkfile: got the name {name!r} for {other} and {component}; valid: a name for each")
        elif not line.startswith("#"):
            for kanji in line.strip():
                # A kanji with components of a single stroke only is known too: it is counted as without a class.
                components[kanji] |= {name} if strokes > 1 else set()
    return dict(components)


def component_name(component: str) -> str:
    """An English name in ASCII: Unicode's name of the Kangxi radical, or one of this module, or the code point.

    >>> component_name("木"), component_name("汁"), component_name("世")
    ('tree', 'water_left', 'U+4E16')
    """
    if component in NAMES:
        return NAMES[component]
    return _KANGXI.get(component, f"U+{ord(component):04X}")


_KANGXI = {
    unicodedata.normalize("NFKC", radical): "_".join(unicodedata.name(radical).lower().split()[2:])
    for radical in map(chr, range(0x2F00, 0x2FD6))
}
"""English name of each of the 214 Kangxi radicals, by the kanji of the same form."""


def draw(font: ImageFont.FreeTypeFont, text: str, size: int) -> Image.Image:
    """One character in the middle of a white square, in grey levels."""
    paper = Image.new("L", (size, size), 255)
    ImageDraw.Draw(paper).text((size / 2, size / 2), text, fill=0, font=font, anchor="mm")
    return paper


KANJI = Dataset(
    name="kanji",
    text=__doc__,
    source="Debian packages kiten: RADKFILE of the Electronic Dictionary Research and Development Group "
    "(CC BY-SA 3.0), and fonts-ipafont-gothic (IPA Font License 1.0)",
    size=64,
    min_images=40,
    suffix=".png",
    collect=collect,
)

if __name__ == "__main__":
    sys.exit(run(KANJI))
