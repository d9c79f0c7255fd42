"""Which images are nearly the same: one picture that was stored again, in another format, quality or size.

Two images are near copies if their thumbnails are nearly equal. A thumbnail has few cells, each the mean of many
pixels, so it hardly shows the noise of an encoder. Copies that were cut, turned, mirrored or written on are not found.

Legend of shapes: N images, C = 256 cells of a thumbnail, X = 48 colours of its parts, R principal components,
E pairs.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from kmcl_platform.data.progress import Progress, silent

_SIDE = 16
"""Cells along each side of a thumbnail."""
_COLOUR_SIDE = 4
"""Parts along each side of which the mean colour is compared."""
FINGERPRINT_BYTES = _SIDE * _SIDE + 3 * _COLOUR_SIDE * _COLOUR_SIDE

_LEAST_CONTRAST = 8.0
"""Standard deviation of a thumbnail, in grey levels. Below it an image is plain, and all plain images look alike."""
_LARGEST_DISTANCE = 0.08
"""The largest distance of two thumbnails with mean 0 and length 1. Their correlation is 1 - distance² / 2. Measured:
photographs that were stored again have 0.02 and less, X-rays that differ by a tenth of their contrast 0.11 and more,
digits 0.76 and more."""
_LARGEST_CELL_STEP = 0.5
"""The largest difference of two thumbnails in any cell, as a multiple of their contrast. If it is larger, only one of
the images shows some small object."""
_LARGEST_COLOUR_STEP = 8.0
"""The largest difference of the mean red, green or blue of two images in any part, in levels of 256."""

_COMPONENTS = 64
_NEIGHBOURS = 8
_ROUND = 1024
"""Images that are decoded between two reports of progress."""


def fingerprint(pixels_HW3: np.ndarray) -> np.ndarray:
    """What is compared of an image: the grey levels of its thumbnail, then the mean red, green and blue of its parts.

    Args:
        pixels_HW3: uint8, of any size.

    Returns:
        FINGERPRINT_BYTES numbers, uint8.
    """
    # BOX takes the mean of all pixels of a cell. Other filters use few pixels of a large image, or let cells overlap.
    small = np.asarray(Image.fromarray(pixels_HW3).resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float32)
    parts = small.reshape(_COLOUR_SIDE, _SIDE // _COLOUR_SIDE, _COLOUR_SIDE, _SIDE // _COLOUR_SIDE, 3)
    numbers = [small.mean(axis=2).reshape(-1), parts.mean(axis=(1, 3)).reshape(-1)]
    return np.concatenate(numbers).round().astype(np.uint8)


def find_near_pairs(fingerprints: np.ndarray) -> np.ndarray:
    """All pairs of near copies, each with the smaller number first.

    Not all pairs of images are compared. The principal components of the thumbnails are put into a k-d tree. Distances
    between components are never larger than those between whole thumbnails, so the tree misses no near copy among the
    neighbours that it is searched for. If an image has more than 8 near copies, the nearest 8 are found.

    Args:
        fingerprints: (N, FINGERPRINT_BYTES) uint8, see `fingerprint`.

    Returns:
        pairs_E2, int64.
    """
    # Inside: SciPy's import takes longer than most commands.
    from scipy.spatial import cKDTree

    grey_NC = fingerprints[:, : _SIDE * _SIDE].astype(np.float32)
    # Mean 0 and, below, length 1: the brightness and the contrast of the whole picture do not count.
    grey_NC -= grey_NC.mean(axis=1, keepdims=True)
    contrast_N = grey_NC.std(axis=1)
    rows_N = np.flatnonzero(contrast_N >= _LEAST_CONTRAST)
    if len(rows_N) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    grey_NC, contrast_N = grey_NC[rows_N], contrast_N[rows_N]
    colours_NX = fingerprints[rows_N, _SIDE * _SIDE :].astype(np.int64)
    # Of a thumbnail with mean 0, the length is its standard deviation times the root of its number of cells.
    unit_NC = grey_NC / (contrast_N[:, None] * _SIDE)
    centred_NC = unit_NC - unit_NC.mean(axis=0)
    # The covariance of C = 256 cells is small, whatever N is. An SVD of the N x C thumbnails would take longer.
    _, vectors_CC = np.linalg.eigh(centred_NC.T @ centred_NC)
    # The order of eigh is ascending: the last components have the most variance.
    components_NR = centred_NC @ vectors_CC[:, ::-1][:, :_COMPONENTS]
    # One neighbour more than is wanted, because each image is its own nearest neighbour.
    distances, neighbours = cKDTree(components_NR).query(
        components_NR, k=min(_NEIGHBOURS + 1, len(rows_N)), distance_upper_bound=_LARGEST_DISTANCE, workers=-1
    )
    row, column = np.nonzero(np.isfinite(distances))
    # Two near copies find each other: with the smaller number first, `unique` leaves one of the two pairs.
    pairs_E2 = np.sort(np.stack([row, neighbours[row, column]], axis=1), axis=1)
    pairs_E2 = np.unique(pairs_E2[pairs_E2[:, 0] != pairs_E2[:, 1]], axis=0)
    one, other = pairs_E2.T
    largest_step = _LARGEST_CELL_STEP * np.minimum(contrast_N[one], contrast_N[other])
    colour_steps = np.abs(colours_NX[one] - colours_NX[other]).max(axis=1)
    # The tree compared only some components. Here the pairs that it found are compared by the whole thumbnails.
    near_E = (
        (np.linalg.norm(unit_NC[one] - unit_NC[other], axis=1) <= _LARGEST_DISTANCE)
        & (np.abs(grey_NC[one] - grey_NC[other]).max(axis=1) <= largest_step)
        & (colour_steps <= _LARGEST_COLOUR_STEP)
    )
    pairs: np.ndarray = rows_N[pairs_E2[near_E]]
    return pairs


def join_near_copies(
    first_N: np.ndarray, images: Sequence[str] | Sequence[bytes], root: Path | None, progress: Progress = silent
) -> np.ndarray:
    """Join groups of identical images whose pictures are nearly the same, each decoded once.

    If a is a near copy of b and b of c, all three are one group, although a and c may differ more. An image that cannot
    be read or decoded is never a near copy. The check of the manifest names it.

    Args:
        first_N: for each image the first row of its group, see `find_identical`.
        images: N paths of files, or N encoded images.
        root: the folder that relative paths start from; None: the current folder.
        progress: is called with the number of images that are decoded.

    Returns:
        first_N, int64, of the joined groups.
    """
    # Inside: SciPy's import takes longer than most commands.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # The first image of each group stands for its identical copies.
    rows = np.unique(first_N)
    prints: list[np.ndarray | None] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(rows), _ROUND):
            prints += pool.map(lambda row: _read_fingerprint(images[row], root), rows[start : start + _ROUND])
            progress("decoding images", len(prints), len(rows))
    decoded = [number for number, one in enumerate(prints) if one is not None]
    joined_N = first_N.copy()
    if decoded:
        pairs_E2 = rows[decoded][find_near_pairs(np.stack([prints[number] for number in decoded]))]  # type: ignore[misc]
        # A near copy of a near copy is in the same group: the groups are the connected components of the pairs.
        edges = coo_array((np.ones(len(pairs_E2)), tuple(pairs_E2.T)), shape=(len(first_N), len(first_N)))
        _, group_N = connected_components(edges, directed=False)
        # The first row of each joined group; np.unique returns the first place of each value.
        _, first_of_group = np.unique(group_N, return_index=True)
        joined_N = first_of_group[group_N[first_N]].astype(np.int64)
    return joined_N


def _read_fingerprint(image: str | bytes, root: Path | None) -> np.ndarray | None:
    # Inside: the decoders import torch, which an import without this option does not need.
    from kmcl_platform.data.loading.decode import UndecodableError, decode_pixels

    try:
        encoded = image if isinstance(image, bytes) else ((root or Path()) / image).read_bytes()
        return fingerprint(decode_pixels(encoded))
    except (UndecodableError, OSError):
        return None
