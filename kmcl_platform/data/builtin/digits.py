"""The built-in dataset: mosaics of real handwritten digits, with the same bytes on every machine.

Legend of shapes: N mosaics, K = 10 classes, S = 4 cells of a mosaic, H = W = 40 pixels.
Only whole numbers and `Generator.integers` over PCG64 are used: floating-point results may differ between machines.
"""

import struct
import zlib
from typing import NamedTuple

import numpy as np

from kmcl_platform.data.manifest.manifest import Manifest, build_manifest

DIGITS_VERSION = "1"
"""It changes whenever the same seed would give other bytes."""

_CANVAS = 40
_CELL = 20
_DIGIT = 16
_CELLS = 4
_CLASSES = 10
_SHARES = {"train": 60, "val": 20, "test": 20}
_CLASS_WEIGHTS = (24, 16, 17, 13, 11, 9, 8, 7, 6, 4)
_NEIGHBOUR_PERCENT = 40
_INK = (3, 9)
_NOISE = 100
_BACKGROUND = (60, 110)


class Mosaics(NamedTuple):
    """The mosaics of one split."""

    images_NHW: np.ndarray
    """uint8 grey levels."""
    targets_NK: np.ndarray
    """int8: 1 where the digit is in the mosaic, else 0."""
    originals_NS: np.ndarray
    """int64: which of scikit-learn's digits each cell shows, -1 for none."""


def build_digits(*, seed: int = 0, num_train: int = 4000, num_val: int = 1000, num_test: int = 1000) -> Manifest:
    """Make the digits dataset: grey 40x40 PNG images of 1 to 4 digits, 10 classes, no unknown targets.

    The splits show disjoint sets of originals, and a split's mosaics do not depend on the sizes of the others.

    Args:
        seed: 0 or more.
        num_train: mosaics to train on; 0: no such split.
        num_val: mosaics to validate on; 0: no such split.
        num_test: mosaics to test on; 0: no such split.

    Raises:
        DataError: all three numbers are 0.
    """
    counts = {"train": num_train, "val": num_val, "test": num_test}
    mosaics = {split: draw_mosaics(split, count, seed=seed) for split, count in counts.items()}
    return build_manifest(
        name="digits",
        version=DIGITS_VERSION,
        class_names=[str(digit) for digit in range(_CLASSES)],
        splits=[split for split, count in counts.items() for _ in range(count)],
        images=[_encode_png(image) for part in mosaics.values() for image in part.images_NHW],
        targets=np.concatenate([part.targets_NK for part in mosaics.values()]),
    )


def draw_mosaics(split: str, count: int, *, seed: int) -> Mosaics:
    """Draw `count` mosaics from the originals of one split, and say which originals each of them shows.

    Args:
        split: `train`, `val` or `test`.
    """
    from sklearn.datasets import load_digits

    bundle = load_digits()
    # From 8x8 to 16x16 pixels by repetition, which needs no interpolation and so no floating-point numbers.
    glyphs = bundle.images.astype(np.int16).repeat(2, axis=1).repeat(2, axis=2)
    pools = _split_originals(bundle.target, seed=seed)[split]

    # A generator for each split, so that the size of one split does not change another one. Number 0 divides the
    # originals.
    rng = np.random.Generator(np.random.PCG64([seed, 1 + list(_SHARES).index(split)]))
    classes_NS = _draw_classes(rng, count)
    # Sorting random keys is a shuffle that needs no other method than `integers`.
    cells_NS = np.argsort(rng.integers(0, 2**62, (count, _CELLS)), axis=1, kind="stable")
    picks_NS = rng.integers(0, 2**31, (count, _CELLS))
    jitter_NS2 = rng.integers(0, _CELL - _DIGIT + 1, (count, _CELLS, 2))
    ink_NS = rng.integers(*_INK, (count, _CELLS), dtype=np.int16)

    shape = (count, _CANVAS, _CANVAS)
    canvas_NHW = rng.integers(*_BACKGROUND, (count, 1, 1), dtype=np.int16) - np.int16(_NOISE)
    # The sum of two uniform draws is roughly bell-shaped, and needs no floating-point numbers.
    canvas_NHW = (
        canvas_NHW + rng.integers(0, _NOISE, shape, dtype=np.int16) + rng.integers(0, _NOISE, shape, dtype=np.int16)
    )

    originals_NS = np.full((count, _CELLS), -1, dtype=np.int64)
    targets_NK = np.zeros((count, _CLASSES), dtype=np.int8)
    span = np.arange(_DIGIT)
    for s in range(_CELLS):
        rows = np.flatnonzero(classes_NS[:, s] >= 0)
        shown = classes_NS[rows, s]
        # A number below 2^31 modulo the size of the pool: the draw itself does not depend on that size.
        picked = [pools[k][pick % len(pools[k])] for k, pick in zip(shown, picks_NS[rows, s], strict=True)]
        originals = np.array(picked, dtype=np.int64)
        top = cells_NS[rows, s] // 2 * _CELL + jitter_NS2[rows, s, 0]
        left = cells_NS[rows, s] % 2 * _CELL + jitter_NS2[rows, s, 1]
        y, x = (top[:, None] + span)[:, :, None], (left[:, None] + span)[:, None, :]
        canvas_NHW[rows[:, None, None], y, x] += glyphs[originals] * ink_NS[rows, s, None, None]
        originals_NS[rows, s] = originals
        targets_NK[rows, shown] = 1
    return Mosaics(canvas_NHW.clip(0, 255).astype(np.uint8), targets_NK, originals_NS)


def _split_originals(labels: np.ndarray, *, seed: int) -> dict[str, list[np.ndarray]]:
    """For each split, the indices of its originals, class by class: disjoint, 60/20/20 % of every class."""
    rng = np.random.Generator(np.random.PCG64([seed, 0]))
    order = np.argsort(rng.integers(0, 2**62, len(labels)), kind="stable")
    pools: dict[str, list[np.ndarray]] = {split: [] for split in _SHARES}
    for k in range(_CLASSES):
        members = order[labels[order] == k]
        start = passed = 0
        for split, share in _SHARES.items():
            passed += share
            # Of the sum of the shares, not of each share: rounding then loses no original.
            stop = len(members) * passed // 100
            pools[split].append(members[start:stop])
            start = stop
    return pools


def _draw_classes(rng: np.random.Generator, count: int) -> np.ndarray:
    """(N, S) classes, -1 for an empty cell: 1 to 4 digits, low ones more often, each often next to the last one."""
    urn = np.repeat(np.arange(_CLASSES), _CLASS_WEIGHTS)
    num_digits = rng.integers(1, _CELLS + 1, count)
    fresh_NS = urn[rng.integers(0, len(urn), (count, _CELLS))]
    follows_NS = rng.integers(0, 100, (count, _CELLS)) < _NEIGHBOUR_PERCENT
    side_NS = rng.integers(0, 2, (count, _CELLS)) * 2 - 1
    classes_NS = fresh_NS.copy()
    for s in range(1, _CELLS):
        neighbour = classes_NS[:, s - 1] + side_NS[:, s]
        # 0 and 9 have one neighbour each: a step past them goes the other way.
        neighbour = np.where((neighbour < 0) | (neighbour >= _CLASSES), classes_NS[:, s - 1] - side_NS[:, s], neighbour)
        classes_NS[:, s] = np.where(follows_NS[:, s], neighbour, fresh_NS[:, s])
    classes_NS[np.arange(_CELLS) >= num_digits[:, None]] = -1
    return classes_NS


def _encode_png(image_HW: np.ndarray) -> bytes:
    """An 8-bit grey PNG without compression; not by an encoder, whose bytes depend on the version of zlib."""
    height, width = image_HW.shape
    # The byte before each row is PNG's filter "none".
    rows = b"".join(b"\0" + row.tobytes() for row in image_HW)
    # A zlib stream of one stored block: its header, then the length and its complement. A block has at most 65,535
    # bytes, and an image has 1,640.
    stored = b"\x78\x01\x01" + struct.pack("<HH", len(rows), len(rows) ^ 0xFFFF) + rows
    stored += struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", stored), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
