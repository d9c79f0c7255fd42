"""The features of a frozen backbone, computed once for all trials and workers of a store.

The features of a split are a folder `splits/KEY/` in the store's folder of features:

- `features.npy`: V x N x D, float32 or float16, which trials map into their memory. V is the number of views: random
  changes of the training images, the same ones for all trials; 1 without any;
- `rows.npy`: the row whose image each row's features are of;
- `about.json`: what the key is made of, for people.

KEY is a hash of everything that decides the features: the bytes of the pictures in their order, the backbone with its
weights, the size and the background of images, their random changes. So features of other pictures are never used, and
labels may change without a new computation. The whole folder may be removed when no search runs.
"""

import hashlib
import json
import logging
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kmcl_platform.config.store import full_disk_is_store_error
from kmcl_platform.data.loading.feature_dataset import FeatureDataset
from kmcl_platform.errors import DataError
from kmcl_platform.files.atomic_write import DRAFT_PREFIX, atomic_folder, make_folder
from kmcl_platform.files.file_lock import FileLock
from kmcl_platform.training.features.sources import FeatureSource
from kmcl_platform.training.workers.distributed import Workers

FORMAT = 1
"""Part of every key; raised when the same images would get other features."""

_WAIT_SECONDS = 5.0
"""How long the first worker waits for another process that computes the same features, before it tells the others."""
_FEATURES, _ROWS, _ABOUT = "features.npy", "rows.npy", "about.json"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Place:
    """The folder of a split's features.

    Attributes:
        path: where it is, or will be.
        facts: what its name is made of.
        rows: N.
        views: V.
    """

    path: Path
    facts: dict[str, Any]
    rows: int
    views: int

    @property
    def lock(self) -> FileLock:
        return FileLock(self.path.with_suffix(".lock"))

    def read(self) -> tuple[np.ndarray, np.ndarray] | None:
        """features_VND, mapped into memory, and rows_N. None: they are missing or damaged."""
        try:  # "c": torch would warn about an array that cannot be written to. A write would never reach the file.
            features_VND = np.load(self.path / _FEATURES, mmap_mode="c", allow_pickle=False)
            rows_N = np.load(self.path / _ROWS, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        whole = features_VND.shape[:2] == (self.views, self.rows) and len(rows_N) == self.rows
        return (features_VND, rows_N) if whole else None


def open_features(source: FeatureSource, workers: Workers, folder: Path) -> FeatureDataset:
    """The features of a split, which are computed first if no trial has done it.

    All workers of the group call this, and share the computation. Other groups wait for them.

    Args:
        source: of the features.
        workers: this process's place in the group.
        folder: of the store's features.

    Raises:
        DataError: the split has no images, an image cannot be read, pictures change while they are read, or features
            are not finite.
        WeightsError: as `load_backbone`.
        StoreError: the disk is full.
    """
    with full_disk_is_store_error(folder), ExitStack() as held:
        place = workers.on_first(lambda: _find_place(source, folder))
        while not workers.broadcast(_is_settled(place, held) if workers.is_first else False):
            # Another group computes. Each turn is a collective operation, so that none of them reaches its time limit.
            pass
        if workers.broadcast(place.read() is None if workers.is_first else False):
            _compute(source, place, workers)
    found = place.read()
    if found is None:
        raise OSError(f"{place.path}: cannot be read on this node")
    return FeatureDataset(*found, source.manifest.targets(source.split))


def _find_place(source: FeatureSource, folder: Path) -> _Place:
    facts = {"format": FORMAT} | source.facts()
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return _Place(folder / "splits" / key, facts, source.rows, source.views)


def _is_settled(place: _Place, held: ExitStack) -> bool:
    """Whether the features are there, or this process has the lock and may compute them; the lock goes to `held`."""
    if place.read() is not None:
        return True
    lock = place.lock
    if not lock.acquire(seconds=_WAIT_SECONDS):
        return False
    held.callback(lock.release)
    return True


def _compute(source: FeatureSource, place: _Place, workers: Workers) -> None:
    """Compute features and write them, completely or not at all. The first worker has the lock."""
    started = time.monotonic()
    where = f"manifest {source.manifest.name!r}, split {source.split!r}"
    with ExitStack() as stack:
        if workers.is_first:
            # What a process that was killed has left, or what is damaged. Nobody else touches it: see the lock.
            for leftover in (*place.path.parent.glob(f"{DRAFT_PREFIX}{place.path.name}-*"), place.path):
                shutil.rmtree(leftover, ignore_errors=True)
            make_folder(place.path.parent)
            draft = stack.enter_context(atomic_folder(place.path))
            file = stack.enter_context((draft / _FEATURES).open("wb"))
            about = place.facts | {"split": source.split, "data": source.manifest.name}
            (draft / _ABOUT).write_text(json.dumps(about, indent=1))
        all_rows: list[int] = []
        for features_BD, rows_B in source.batches(workers):
            with np.errstate(over="ignore"):  # The next line refuses values beyond the range of float16.
                values_BD = features_BD.numpy().astype(source.dtype)
            if not np.isfinite(values_BD).all():
                raise DataError(
                    f"{where}: the features of {source.name} are not finite as {source.dtype}; valid: "
                    f"{'model.feature_dtype float32, or ' if source.dtype == 'float16' else ''}other weights"
                )
            if workers.is_first:
                if not all_rows:
                    shape = (place.views, place.rows, values_BD.shape[1])
                    header = {"descr": values_BD.dtype.str, "fortran_order": False, "shape": shape}
                    # Written as a file: on a full disk, writing to a memory map ends the process.
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(values_BD.tobytes())
            all_rows += rows_B.tolist()
        workers.on_first(lambda: _check_unchanged(source, place, where))
        if workers.is_first:
            file.close()
            # Whether an image is corrupt does not depend on the view.
            np.save(draft / _ROWS, np.array(all_rows[: place.rows]))
    # All workers read the folder next, which has its name only when the first worker is here.
    workers.broadcast(None)
    _logger.info("%s: computed features of %d images in %.1f s", where, place.rows, time.monotonic() - started)


def _check_unchanged(source: FeatureSource, place: _Place, where: str) -> None:
    if {"format": FORMAT} | source.facts() != place.facts:
        raise DataError(
            f"{where}: {source.inputs} changed while the features were written; valid: the same command, when nothing "
            "changes them"
        )
