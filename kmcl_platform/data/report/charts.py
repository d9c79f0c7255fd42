"""The bar charts of the page that describes a manifest: positives of each class, labels per image."""

from collections.abc import Sequence
from html import escape

from kmcl_platform.data.report.statistics import Description

_BINS = 16
"""Images with this number of labels or more are counted together."""


def percent(share: float) -> str:
    """A share in [0, 1] as text, with two or three significant digits: 38.1 %, 0.38 %, < 0.01 %."""
    value = 100 * share
    if value == 0:
        return "0 %"
    if value < 0.01:
        return "< 0.01 %"
    return f"{value:.2f} %" if value < 1 else f"{value:.1f} %"


def imbalance_table(found: Description, names: tuple[str, ...]) -> str:
    """An HTML table with a line for each class, the most frequent first, and in it a bar for each split.

    All bars have the same scale.

    Args:
        found: what the page shows.
        names: the K class names, not escaped.
    """
    splits = found.splits
    shares = {split: [labels.share(k) for k in range(len(names))] for split, labels in splits.items()}
    # `or 1.0` at the end: without any positive label the bars have length 0, and are divided by this.
    longest = max((share or 0.0 for each in shares.values() for share in each), default=0.0) or 1.0
    total = [sum(labels.positives[k] for labels in splits.values()) for k in range(len(names))]
    # `known` counts per class, so what is missing to the number of images is unknown.
    unknown = [
        sum(found.summaries[split].images - labels.known[k] for split, labels in splits.items())
        for k in range(len(names))
    ]
    rows: list[str] = []
    # Equally frequent classes stay in the order of the manifest.
    for k in sorted(range(len(names)), key=lambda k: (-total[k], k)):
        flags = "".join(
            f'<span class="flag">none in {split}</span>' for split in splits if not splits[split].positives[k]
        )
        cells = [f'<td class="name" title="{escape(names[k])}">{escape(names[k])}{flags}</td>']
        for split, labels in splits.items():
            share = shares[split][k]
            title = f"{split}: {labels.positives[k]:,} of {labels.known[k]:,} known labels"
            bar = f'<i class="{split}" style="width:{100 * share / longest:.1f}%"></i>' if share else ""
            cells.append(
                f'<td class="bar" title="{title}">{bar}</td><td title="{title}">{labels.positives[k]:,}</td>'
                f'<td class="soft" title="{title}">{"–" if share is None else percent(share)}</td>'
            )
        cells += [f"<td>{unknown[k]:,}</td>"] if any(unknown) else []
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f'<th class="name" colspan="2">{split}</th><th>share</th>' for split in splits)
    head += "<th>unknown</th>" if any(unknown) else ""
    return f'<table class="full"><thead><tr><th>class</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def labels_svg(found: Description) -> str:
    """A column chart as SVG: for each number of labels per image, a column for each split."""
    counts = {split: _binned(labels.images_by_labels) for split, labels in found.splits.items()}
    bins = max((len(each) for each in counts.values()), default=1)
    top = max((max(each) / sum(each) for each in counts.values()), default=1.0)
    width, height, left, bottom = 500, 260, 44, 40
    step = min(90.0, (width - left) / bins)
    parts = [f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" font-size="12">']
    for tick in range(5):
        y = height - bottom - (height - bottom - 14) * tick / 4
        parts.append(f'<line x1="{left}" x2="{left + step * bins:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="soft" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * top * tick / 4:.0f}%</text>'
        )
    bar = step * 0.78 / max(1, len(counts))
    for n in range(bins):
        middle = left + step * (n + 0.5)
        written = f"{n}+" if n == _BINS else str(n)
        parts.append(f'<text x="{middle:.1f}" y="{height - bottom + 16}" text-anchor="middle">{written}</text>')
        for place, (split, each) in enumerate(counts.items()):
            images = each[n] if n < len(each) else 0
            share = images / sum(each)
            # `top` is above 0, because a split with images has at least one image in some column.
            tall = (height - bottom - 14) * share / top
            parts.append(
                f'<rect class="{split}" x="{middle + bar * (place - len(counts) / 2):.1f}" '
                f'y="{height - bottom - tall:.1f}" width="{max(1.0, bar - 1):.1f}" height="{tall:.1f}">'
                f"<title>{split}: {images:,} of {sum(each):,} images ({percent(share)}) have {written} "
                f"label{'' if n == 1 else 's'}</title></rect>"
            )
    axis = f'<text class="soft" x="{left + step * bins / 2:.0f}" y="{height - 6}" text-anchor="middle">'
    return _legend(found) + "".join(parts) + f"{axis}positive labels</text></svg>"


def _legend(found: Description) -> str:
    keys = (f'<span class="key {split}"></span>{split}' for split in found.splits)
    return f'<div class="legend">{"".join(keys)}</div>'


def _binned(images_by_labels: Sequence[int]) -> list[int]:
    if len(images_by_labels) <= _BINS + 1:
        return list(images_by_labels)
    return [*images_by_labels[:_BINS], sum(images_by_labels[_BINS:])]
