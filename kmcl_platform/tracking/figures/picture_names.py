"""Names of classes as pictures can show them: short, in characters that a font has, never read as a formula."""

import functools
import unicodedata
from collections.abc import Iterable, Sequence

from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

MAX_WIDTH = 32
"""The largest width of a name, in Latin letters. A longer name would leave no room for what the picture shows."""
_DEFAULT_FONT = "DejaVu Sans"
"""It comes with matplotlib."""
_NO_GLYPH = "□"


def to_picture_names(names: Sequence[str]) -> list[str]:
    """Names for labels of pictures.

    A name that is too long, or has characters that no font of this machine has, is changed: it is cut, each such
    character becomes `□`, and the name begins with the number of its class. The class table of the same trial has this
    number with the full name.

    Args:
        names: of the classes, in the order of the dataset.

    Returns:
        A name for each. matplotlib would read text between two `$` as a formula, so each `$` has a backslash.
    """
    _, missing = _choose_fonts("".join(names))
    return [_to_picture_name(number, name, missing) for number, name in enumerate(names)]


def find_fonts(texts: Iterable[str]) -> list[str]:
    """Font families for matplotlib's `font.family` that together have the characters of some texts."""
    families, _ = _choose_fonts("".join(texts))
    return families


def _to_picture_name(number: int, name: str, missing: set[str]) -> str:
    text = " ".join(name.split())
    text = "".join(_NO_GLYPH if letter in missing or not letter.isprintable() else letter for letter in text)
    text = _cut(text)
    if text != name:
        text = f"{number}: {text}"
    # Last, because the backslashes are not drawn and must not count in the width.
    return text.replace("$", r"\$")


def _cut(text: str) -> str:
    if sum(map(_width, text)) <= MAX_WIDTH:
        return text
    width, kept = len("…"), ""
    for letter in text:
        width += _width(letter)
        if width > MAX_WIDTH:
            break
        kept += letter
    return f"{kept}…"


def _width(letter: str) -> int:
    """Chinese, Japanese and Korean letters are about as wide as two Latin ones."""
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _choose_fonts(text: str) -> tuple[list[str], set[str]]:
    """Families that have the characters of a text, the default one first, and the characters that none has."""
    missing = {letter for letter in text if letter.isprintable()}
    missing -= _letters(findfont(FontProperties(family=_DEFAULT_FONT)))
    families = [_DEFAULT_FONT]
    for font in sorted(fontManager.ttflist, key=lambda font: (font.name, font.fname)):
        if not missing:
            break
        # "Last Resort" has a box for every character. Fonts of colour pictures cannot be drawn by matplotlib.
        if font.style != "normal" or font.name.startswith("Last Resort") or "color" in font.name.lower():
            continue
        if found := missing & _letters(font.fname):
            families.append(font.name)
            missing -= found
    return families, missing


@functools.cache
def _letters(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, get_font(path).get_charmap()))
    except (OSError, RuntimeError):  # A font of a kind that matplotlib cannot read.
        return frozenset()
