import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from kmcl_platform.data.builtin.digits import _encode_png, build_digits, draw_mosaics
from kmcl_platform.data.manifest.manifest import SPLITS
from kmcl_platform.errors import DataError

GOLDEN = "e57fc24ed60583aed2d9284862f6f87558c342188cf9b359de2ac6a47fe817f2"
"""The content hash of the small build below. If it changes, users' results change, so DIGITS_VERSION must change."""


def test_the_bytes_are_those_of_version_1() -> None:
    manifest = build_digits(seed=7, num_train=50, num_val=20, num_test=20)
    assert [manifest.split(split).num_rows for split in SPLITS] == [50, 20, 20]
    assert manifest.class_names == tuple("0123456789")
    assert manifest.content_hash == GOLDEN


def test_a_split_depends_on_the_seed_and_not_on_other_splits() -> None:
    def images(split: str, **arguments: int) -> list[bytes]:
        manifest = build_digits(**({"num_train": 5, "num_val": 5, "num_test": 5} | arguments))
        encoded: list[bytes] = manifest.split(split)["bytes"].to_pylist()
        return encoded

    assert images("val", seed=1) == images("val", seed=1, num_train=9)
    assert images("val", seed=1) != images("val", seed=2)
    assert build_digits(num_train=0, num_val=0, num_test=2).split("train").num_rows == 0
    with pytest.raises(DataError, match="got no rows"):
        build_digits(num_train=0, num_val=0, num_test=0)


def test_splits_show_disjoint_originals() -> None:
    labels = load_digits().target
    shown = {}
    for split in SPLITS:
        mosaics = draw_mosaics(split, 2000, seed=0)
        originals_NS = mosaics.originals_NS
        # The record of originals is the one that the targets come from.
        targets_NK = np.zeros_like(mosaics.targets_NK)
        rows, cells = np.nonzero(originals_NS >= 0)
        targets_NK[rows, labels[originals_NS[rows, cells]]] = 1
        np.testing.assert_array_equal(targets_NK, mosaics.targets_NK)
        shown[split] = set(originals_NS[originals_NS >= 0].tolist())
    assert not shown["train"] & shown["val"]
    assert not shown["train"] & shown["test"]
    assert not shown["val"] & shown["test"]
    assert [round(len(shown[split]) / len(labels), 1) for split in SPLITS] == [0.6, 0.2, 0.2]


def test_cells_show_the_originals_on_record() -> None:
    """The recorded originals fit their own mosaic better than the next mosaic, if they are used as templates."""
    glyphs = load_digits().images.repeat(2, axis=1).repeat(2, axis=2)
    glyphs -= glyphs.mean(axis=(1, 2), keepdims=True)
    glyphs /= np.linalg.norm(glyphs, axis=(1, 2), keepdims=True)
    mosaics = draw_mosaics("train", 101, seed=0)

    def fit(n: int, originals: np.ndarray) -> float:
        windows = np.lib.stride_tricks.sliding_window_view(mosaics.images_NHW[n].astype(float), (16, 16))
        return float(np.tensordot(windows, glyphs[originals], axes=([2, 3], [1, 2])).max(axis=(0, 1)).mean())

    first_N = mosaics.originals_NS[:, :1]
    better = [fit(n, first_N[n]) > fit(n, first_N[n + 1]) for n in range(100)]
    assert np.mean(better) > 0.75


def test_labels_have_the_intended_frequencies() -> None:
    targets_NK = draw_mosaics("train", 4000, seed=0).targets_NK
    frequencies = targets_NK.mean(axis=0)
    assert 0.35 < frequencies[0] < 0.41
    assert 0.06 < frequencies[9] < 0.10
    assert (np.diff(frequencies) < 0).all()
    counts = (draw_mosaics("train", 4000, seed=0).originals_NS >= 0).sum(axis=1)
    np.testing.assert_allclose(np.bincount(counts, minlength=5)[1:] / 4000, 0.25, atol=0.03)
    assert set(targets_NK.sum(axis=1)) == {1, 2, 3, 4}


def test_neighbouring_digits_are_correlated() -> None:
    targets_NK = draw_mosaics("train", 4000, seed=0).targets_NK
    correlation_KK = np.corrcoef(targets_NK.T.astype(float))
    neighbours = np.diag(correlation_KK, 1)
    others = correlation_KK[np.triu_indices(10, 2)]
    assert neighbours.min() > 0.05
    assert neighbours.mean() > others.mean() + 0.15


@pytest.mark.parametrize("shape", [(40, 40), (3, 7)])
def test_png_is_lossless(shape: tuple[int, int]) -> None:
    image_HW = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    with Image.open(io.BytesIO(_encode_png(image_HW))) as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), image_HW)
