"""The most confident mistakes of a trial, with their images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from kmcl_platform.data.loading.decode import UndecodableError, decode_pixels
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.scores_file import SplitScores
from kmcl_platform.errors import DataError

MAX_MISTAKES = 16
_COLUMNS = 4
_SIDE = 224


@dataclass(frozen=True)
class Mistake:
    """The label of an image on which the model is furthest from the truth.

    Attributes:
        row: the image's place in the validation split, from 0.
        class_index: the label's place among the classes, from 0.
        score: the model's score of the label, in [0, 1].
        positive: whether the data says that the image shows it.
    """

    row: int
    class_index: int
    score: float
    positive: bool


def find_mistakes(own: SplitScores) -> list[Mistake]:
    """The worst images, the worst first: at most `MAX_MISTAKES` whose worst known label is on the wrong side of 0.5."""
    # The distance |score - target|. -1 is below every distance, so an unknown label is never the worst one.
    wrong_NK = np.where(own.targets_NK >= 0, np.abs(own.scores_NK - (own.targets_NK == 1)), -1.0)
    if not wrong_NK.size:
        return []
    worst_N = wrong_NK.argmax(1)
    by_image_N = wrong_NK[np.arange(len(wrong_NK)), worst_N]
    # Stable, so that of images with equal distances the earlier ones are shown, in every drawing the same. A distance
    # above 0.5 means that the score is on the wrong side of 0.5.
    rows = [int(row) for row in np.argsort(-by_image_N, kind="stable")[:MAX_MISTAKES] if by_image_N[row] > 0.5]
    return [
        Mistake(
            row,
            int(worst_N[row]),
            float(own.scores_NK[row, worst_N[row]]),
            bool(own.targets_NK[row, worst_N[row]] == 1),
        )
        for row in rows
    ]


def draw_mistakes(manifest: Manifest, mistakes: list[Mistake], names: Sequence[str], title: str) -> Figure:
    """The image of each mistake, with the model's score and the label of the data.

    Args:
        manifest: the dataset, for the images.
        mistakes: at most `MAX_MISTAKES` are shown well.
        names: of the classes, as `to_picture_names` makes them.
        title: the trial's name.
    """
    rows = max(1, -(-len(mistakes) // _COLUMNS))
    height = 2.9 * rows + 0.4
    figure = Figure(figsize=(2.4 * _COLUMNS, height))
    grid = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    # Fixed margins: matplotlib's automatic layouts take seconds for so many axes.
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.9 / height, wspace=0.05, hspace=0.25)
    for axes in grid:
        axes.set_axis_off()
    for axes, mistake in zip(grid, mistakes, strict=False):
        try:
            picture = read_thumbnail(manifest, mistake.row)
        except (DataError, OSError, UndecodableError) as error:
            # An object store may not answer for a moment. The picture is useful without this image too.
            axes.text(0.5, 0.5, type(error).__name__, ha="center", transform=axes.transAxes)
        else:
            axes.imshow(picture)
        label = "labelled" if mistake.positive else "not labelled"
        name = names[mistake.class_index]
        axes.set_title(f"{name}: score {mistake.score:.3f},\n{label} (val {mistake.row})", fontsize=8)
    what = "the most confident mistakes on validation" if mistakes else "no label on the wrong side of 0.5"
    figure.suptitle(f"{title}: {what}", fontsize=10)
    return figure


def read_thumbnail(manifest: Manifest, row: int) -> np.ndarray:
    """An image of the validation split as training decodes it, at most 224 pixels wide and high: pixels_HW3, uint8.

    Raises:
        DataError, OSError, UndecodableError: the image cannot be read.
    """
    image = Image.fromarray(decode_pixels(manifest.encoded_image("val", row), at_least=_SIDE))
    image.thumbnail((_SIDE, _SIDE))
    return np.asarray(image)
