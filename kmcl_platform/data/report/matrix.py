"""The co-occurrence matrix as SVG: the colour of a square is the lift, and a small square means too few images.

The counts appear when the mouse is over a square.
"""

from html import escape

import numpy as np

from kmcl_platform.data.report.cooccurrence import Cooccurrence, order_by_similarity
from kmcl_platform.data.report.statistics import MIN_EXPECTED

MAX_CLASSES = 100
"""The largest number of classes in the matrix. With more, squares would be too small and the page too large."""

_STEPS = ((0.25, "m3"), (0.5, "m2"), (0.8, "m1"), (1.25, "z"), (2.0, "p1"), (4.0, "p2"), (10.0, "p3"), (np.inf, "p4"))
"""Upper limits of the lift, and the colour below each."""
_LEGEND = (
    ("m3", "below ¼"),
    ("m2", "¼ to ½"),
    ("m1", "½ to 0.8"),
    ("z", "0.8 to 1.25: as by chance"),
    ("p1", "to 2"),
    ("p2", "2 to 4"),
    ("p3", "4 to 10"),
    ("p4", "10 and more"),
)
_DARK = ("m3", "m2", "p3", "p4")
"""Colours that need light text."""
_NUMBERED = 16
"""The largest number of classes for which the lift is written into the squares."""
_MAX_NAME = 22


def matrix_svg(counted: Cooccurrence, names: tuple[str, ...]) -> str:
    """One square for each pair of classes, with similar classes next to each other.

    Args:
        counted: the counts of K classes.
        names: the K class names, not escaped.
    """
    order = shown_classes(counted)
    size = max(11.0, min(44.0, 860 / max(1, len(order))))
    font = min(12.0, size * 0.92)
    # An estimate of the width of the longest name: the font of the browser is not known.
    margin = 8 + font * 0.58 * max((len(_short(names[k])) for k in order), default=0)
    lift_KK, enough_KK = counted.lift_KK(), counted.smallest_expected_KK() >= MIN_EXPECTED
    expected_KK, deviation_KK = counted.expected_KK(), counted.deviation_KK()
    safe = [escape(name) for name in names]
    edge = margin + size * len(order) + 2
    parts = [
        f'<svg width="{edge:.0f}" height="{edge:.0f}" viewBox="0 0 {edge:.0f} {edge:.0f}" role="img" '
        f'aria-label="Lift of each pair of classes" font-size="{font:.1f}">'
    ]
    for i, k in enumerate(order):
        middle, label = margin + size * (i + 0.5), _label(names[k])
        parts.append(f'<text x="{margin - 5:.1f}" y="{middle + font * 0.35:.1f}" text-anchor="end">{label}</text>')
        parts.append(
            f'<text transform="translate({middle + font * 0.35:.1f} {margin - 5:.1f}) rotate(-90)">{label}</text>'
        )
    for i, a in enumerate(order):
        for j, b in enumerate(order):
            x, y = margin + size * j, margin + size * i
            if a == b:
                positives, known = int(counted.both_KK[a, a]), int(counted.known_KK[a, a])
                parts.append(_square(x, y, size, "self", f"{safe[a]}: {positives:,} of {known:,} images"))
                continue
            lift = float(lift_KK[a, b])
            title = f"{safe[a]} + {safe[b]}: together on {counted.both_KK[a, b]:,} of {counted.known_KK[a, b]:,} images"
            if np.isnan(lift):
                parts.append(_square(x, y, size, "none", title, filled=0.2))
                continue
            title += f"; {expected_KK[a, b]:,.1f} by chance; lift {lift:.2f}; {deviation_KK[a, b]:+z.1f} SD"
            colour = next(name for edge_of, name in _STEPS if lift < edge_of)
            if not enough_KK[a, b]:
                parts.append(_square(x, y, size, "none", f"{title}; too few images", filled=0.4))
                continue
            parts.append(_square(x, y, size, colour, title))
            if len(order) <= _NUMBERED:
                kind = "on" if colour in _DARK else "in"
                parts.append(
                    f'<text class="{kind}" x="{x + size / 2:.1f}" y="{y + size / 2 + 4:.1f}" text-anchor="middle" '
                    f'font-size="11">{lift:.2f}</text>'
                )
    return "".join([*parts, "</svg>"])


def shown_classes(counted: Cooccurrence) -> list[int]:
    """The classes of the matrix in their order, with similar classes next to each other."""
    positives_K = counted.both_KK.diagonal()
    # A stable sort: of equally frequent classes the first ones are chosen, so the page is always the same.
    chosen = np.sort(np.argsort(-positives_K, kind="stable")[:MAX_CLASSES])
    # A correlation that is estimated from too few images is noise, and would disturb the order of the other classes.
    usable_KK = np.where(counted.smallest_expected_KK() >= MIN_EXPECTED, counted.correlation_KK(), 0.0)
    similarity_KK = usable_KK[np.ix_(chosen, chosen)]
    return [int(chosen[place]) for place in order_by_similarity(similarity_KK)]


def matrix_legend() -> str:
    """The meaning of the colours and sizes, as HTML."""
    keys = "".join(f'<span class="key {colour}"></span>{text}' for colour, text in _LEGEND)
    small = '<svg width="12" height="12"><rect x="3.5" y="3.5" width="5" height="5" class="none"/></svg>'
    return f'<div class="legend">{keys}{small}too few images</div>'


def _square(x: float, y: float, size: float, colour: str, title: str, *, filled: float = 1.0) -> str:
    side = (size - 1) * filled
    shift = (size - 1 - side) / 2
    return (
        f'<rect x="{x + shift:.1f}" y="{y + shift:.1f}" width="{side:.1f}" height="{side:.1f}" class="{colour}">'
        f"<title>{title}</title></rect>"
    )


def _label(name: str) -> str:
    return f"{escape(_short(name))}<title>{escape(name)}</title>"


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"
