"""The page that describes a manifest: one HTML file that needs no network."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.report.charts import imbalance_table, labels_svg, percent
from kmcl_platform.data.report.matrix import MAX_CLASSES, matrix_legend, matrix_svg
from kmcl_platform.data.report.statistics import MIN_EXPECTED, Description, Drift, Pair, describe
from kmcl_platform.data.report.style import html_page
from kmcl_platform.errors import DataError
from kmcl_platform.files.atomic_write import write_atomically
from kmcl_platform.messages import show_path

_ROWS = 15
"""Largest number of lines in a table of pairs or of drift."""
_NAMED = 6
"""Largest number of classes that a sentence names."""


def write_page(manifest: Manifest, path: Path) -> None:
    """Write the page. A reader sees the old file or the new one, never a part of it.

    Args:
        manifest: the dataset.
        path: the HTML file. Its folder is made if needed.

    Raises:
        DataError: the file cannot be written.
    """
    path = path.absolute()
    page = to_html(manifest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page)
    except OSError as error:
        raise DataError(
            f"{show_path(path)}: cannot be written: {error.strerror}; valid: a path in a writable folder"
        ) from None


def to_html(manifest: Manifest) -> str:
    """The page as HTML."""
    found, names = describe(manifest), manifest.class_names
    version = f"version {escape(manifest.version)} · " if manifest.version else ""
    body = (
        f"<h1>{escape(manifest.name)}</h1>"
        f'<p class="soft">{version}content hash <code>{manifest.content_hash}</code></p>',
        _tiles(found, names),
        _beside(_section("Splits", "", _splits(found)), _section("Worth knowing", "", _findings(found, names))),
        _section("Class imbalance", _IMBALANCE, imbalance_table(found, names)),
        _beside(
            _section("Labels per image", _LABELS, labels_svg(found)),
            _section("Drift from train to val", _DRIFT, _drift(found.drifts, names)),
        ),
        _section("Which classes go together", _TOGETHER, _matrix(found, names)),
        _section("Strongest dependencies", _dependencies_note(found), _dependencies(found, names)),
    )
    return html_page(f"{manifest.name}: labels", "".join(body))


_IMBALANCE = "Positive labels of each class and their share of the split's known labels, the most frequent first."
_LABELS = "Share of a split's images by their number of positive labels."
_TOGETHER = (
    "Lift of each pair of classes: the number of images with both, divided by the number expected for independent "
    "classes. Only images of train and val count where both labels are known (test stays sealed). Similar classes are "
    "next to each other. Move the mouse over a square to see its counts."
)
_DRIFT = (
    "Share of known labels that are positive. Deviations are in standard deviations (SD) of two splits that are drawn "
    "from the same images. Deviations that are too large to be chance, given the number of classes, are marked."
)


def _section(title: str, note: str, content: str) -> str:
    paragraph = f'<p class="soft">{note}</p>' if note else ""
    return f'<section><h2>{title}</h2>{paragraph}<div class="wide">{content}</div></section>\n'


def _beside(*sections: str) -> str:
    return f'<div class="beside">{"".join(sections)}</div>'


def _tiles(found: Description, names: tuple[str, ...]) -> str:
    everything = found.summaries["all"]
    # A manifest has at least one image and one class, so nothing below divides by 0.
    labels = everything.images * len(names)
    ratio = found.splits["train"].imbalance() if "train" in found.splits else None
    tiles = (
        (f"{everything.images:,}", "images"),
        (f"{len(names):,}", "classes"),
        (f"{everything.labels_per_image:.2f}", "labels per image"),
        ("–" if ratio is None else f"{ratio:,.1f} : 1", "largest to smallest class in train"),
        (percent(everything.unknown_labels / labels), "of labels unknown"),
        (percent(everything.all_negative_images / everything.images), "of images all-negative"),
    )
    shown = (f'<div class="tile"><b>{figure}</b><span>{text}</span></div>' for figure, text in tiles)
    return f'<div class="tiles">{"".join(shown)}</div>'


def _splits(found: Description) -> str:
    columns = found.summaries
    ratios = {split: labels.imbalance() for split, labels in found.splits.items()}
    rows = [
        ("images", [f"{one.images:,}" for one in columns.values()]),
        ("labels per image", [f"{one.labels_per_image:.2f}" for one in columns.values()]),
        ("all-negative images", [f"{one.all_negative_images:,}" for one in columns.values()]),
        ("unknown labels", [f"{one.unknown_labels:,}" for one in columns.values()]),
        ("largest to smallest class", [_ratio(ratios.get(split)) for split in columns]),
    ]
    return _table(["", *columns], [[name, *cells] for name, cells in rows])


def _findings(found: Description, names: tuple[str, ...]) -> str:
    """The most important facts, as a list of sentences."""
    sentences: list[str] = []
    for split, labels in found.splits.items():
        if missing := labels.missing():
            sentences.append(f"No positive label in {split}: {_list([names[k] for k in missing])}.")
    sentences += [f"No images in {split}." for split in ("train", "val", "test") if split not in found.splits]
    if "train" in found.splits and (counts := [(n, k) for k, n in enumerate(found.splits["train"].positives) if n]):
        (most, most_k), (least, least_k) = max(counts), min(counts)
        sentences.append(
            f"In train, the largest class is {escape(names[most_k])} ({most:,} positive labels), the smallest "
            f"{escape(names[least_k])} ({least:,}): {_ratio(most / least)}."
        )
    pairs = len(found.together) + len(found.apart)
    sentences.append(
        f"{pairs:,} of {len(names) * (len(names) - 1) // 2:,} pairs of classes depend on each other: "
        f"{len(found.together):,} occur together more often than by chance, {len(found.apart):,} less often."
    )
    if drifted := [names[drift.index] for drift in found.drifts if drift.significant]:
        sentences.append(f"Frequency in val differs from train by more than chance: {_list(drifted)}.")
    elif found.drifts:
        sentences.append("For no class does the frequency in val differ from train by more than chance.")
    return f"<ul>{''.join(f'<li>{sentence}</li>' for sentence in sentences)}</ul>"


def _matrix(found: Description, names: tuple[str, ...]) -> str:
    left_out = f"<p>The {MAX_CLASSES} most frequent of {len(names)} classes.</p>" if len(names) > MAX_CLASSES else ""
    return left_out + matrix_legend() + matrix_svg(found.cooccurrence, names)


def _dependencies_note(found: Description) -> str:
    return (
        f"Pairs of which each of the four cases (both, one, the other, neither) is expected on at least {MIN_EXPECTED} "
        f"images, and that deviate by at least {found.threshold:.1f} standard deviations (SD) from independence. "
        "If all classes were independent, one dataset in 20 would show a pair here."
    )


def _dependencies(found: Description, names: tuple[str, ...]) -> str:
    sides = (("Together more often than by chance", found.together), ("Less often than by chance", found.apart))
    tables = (f"<div><h3>{title}{_of(len(pairs))}</h3>{_pairs(pairs, names)}</div>" for title, pairs in sides)
    return f'<div class="columns">{"".join(tables)}</div>'


def _pairs(pairs: Sequence[Pair], names: tuple[str, ...]) -> str:
    if not pairs:
        return '<p class="soft">None.</p>'
    rows = [
        [
            _hovered(f"{names[pair.first]} + {names[pair.second]}"),
            f"{pair.both:,}",
            f"{pair.expected:,.1f}",
            f"{pair.lift:.2f}",
            # `z`: a small negative number is rounded to +0.0, not to -0.0.
            f"{pair.deviation:+z.1f}",
        ]
        for pair in pairs[:_ROWS]
    ]
    return _table(["pair", "images", "by chance", "lift", "SD"], rows)


def _drift(drifts: Sequence[Drift], names: tuple[str, ...]) -> str:
    if not drifts:
        return '<p class="soft">Needs known labels in both train and val.</p>'
    rows = [
        [
            _hovered(names[drift.index]),
            percent(drift.train),
            percent(drift.val),
            f"{100 * (drift.val - drift.train):+z.2f}",
            f"{drift.deviation:+z.1f}",
            '<span class="flag">beyond chance</span>' if drift.significant else "",
        ]
        for drift in drifts[:_ROWS]
    ]
    return _table([f"class{_of(len(drifts))}", "train", "val", "points", "SD", ""], rows)


def _of(total: int) -> str:
    return f" (the first {_ROWS} of {total:,})" if total > _ROWS else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{text}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _hovered(text: str) -> str:
    """A text that may be cut off. It appears whole when the mouse is over it."""
    return f'<span title="{escape(text)}">{escape(text)}</span>'


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(escape(name) for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def _ratio(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:,.1f} : 1"
