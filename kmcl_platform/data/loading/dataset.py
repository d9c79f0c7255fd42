"""Images and targets of one split, in batches, shared out over training workers.

Legend of shapes: B batch, K classes, H = W image size in pixels.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from kmcl_platform.data.loading.decode import UndecodableError, decode_pixels
from kmcl_platform.data.loading.to_rgb import WHITE, Colour
from kmcl_platform.data.loading.transforms import Transform
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.storage.shard_index import locate
from kmcl_platform.data.storage.shard_reader import ShardReader
from kmcl_platform.errors import DataError

Batch = tuple[torch.Tensor, torch.Tensor]
"""images_B3HW uint8, targets_BK int8 (1 positive, 0 negative, -1 unknown)."""
_MOST_IN_A_ROW = 100
"""Corrupt images, one after another, that are skipped: where there are more, it is not a few images that are broken."""


class UnreadableImage(DataError):
    """An image is missing or cannot be decoded; names manifest, split, row and path, in one line."""

    def __init__(self, message: str) -> None:
        # A DataLoader process raises its error again with a whole traceback as the message: ours is its last line.
        last_line = message.rstrip().rpartition("\n")[2]
        super().__init__(last_line.removeprefix(f"{type(self).__module__}.{type(self).__qualname__}: "))


class CorruptImage(UnreadableImage):
    """An image was read and is broken, today and tomorrow; a missing file or a failing disk is not this."""


class ImageDataset(Dataset[Batch]):
    """The images of one split, decoded on demand; can be pickled for worker processes."""

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        transform: Transform,
        *,
        background: Colour = WHITE,
        skip_corrupt: bool = False,
    ) -> None:
        """
        Args:
            split: `train`, `val` or `test`.
            transform: from decoded images to images_B3HW.
            background: the colour behind transparent pixels.
            skip_corrupt: put the next readable image of the split, with its own targets, in the place of a corrupt one,
                and count it. For `train` only: elsewhere it would change what a score means.

        Raises:
            DataError: the split is unknown or has no images.
            ValueError: `skip_corrupt` for another split than `train`.
        """
        if skip_corrupt and split != "train":
            raise ValueError(f"skip_corrupt: got split {split!r}; valid: 'train'")
        rows = manifest.split(split)
        if not rows.num_rows:
            raise DataError(f"manifest {manifest.name!r}: split {split!r} has no images; valid: one or more")
        self._encoded = "bytes" in rows.column_names
        # Only this split's images are kept, so that pickling carries no other.
        self._images = rows["bytes" if self._encoded else "image"]
        self._targets_NK = torch.from_numpy(manifest.targets(split).copy())
        self._root = manifest.root
        self._shards = None if manifest.packing is None else ShardReader(manifest.packing)
        self._where = f"manifest {manifest.name!r}, split {split!r}"
        self._transform = transform
        self._background = background
        # In shared memory, because loader processes set it: 1 where an image was asked for and skipped.
        self._skipped_N = torch.zeros(len(self), dtype=torch.uint8).share_memory_() if skip_corrupt else None
        # In shared memory too: loader processes outlive an epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self._targets_NK)

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self._targets_NK.shape[1])

    @property
    def max_labels(self) -> int:
        """Positive labels of the image that has most, at least 1."""
        return max(1, int((self._targets_NK == 1).sum(1).max()))

    @property
    def row_groups(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Of each image its shard and the row group in it, shards_N and groups_N, numbered from 0; None: not packed."""
        if self._shards is None:
            return None
        rows_N, shards_N = locate(self._shards.packing, self._images)
        sizes = np.array([shard.group_images for shard in self._shards.packing.shards.values()])
        return shards_N, rows_N // sizes[shards_N]

    def count_skipped(self) -> int:
        """Images that were asked for and skipped since `set_epoch`; 0 where corrupt images are errors."""
        return 0 if self._skipped_N is None else int(self._skipped_N.sum())

    def set_epoch(self, epoch: int) -> None:
        """Choose the augmentation of epoch 0, 1, ..., and count skipped images anew."""
        self._epoch.fill_(epoch)
        if self._skipped_N is not None:
            self._skipped_N.zero_()

    def __getitem__(self, index: int) -> Batch:
        """One image_3HW and targets_K.

        Raises:
            UnreadableImage: the image is missing or cannot be decoded.
        """
        images_B3HW, targets_BK = self.__getitems__([index])
        return images_B3HW[0], targets_BK[0]

    def __getitems__(self, indices: list[int]) -> Batch:
        """One batch: images_B3HW, targets_BK.

        Raises:
            UnreadableImage: an image is missing or cannot be decoded; with `skip_corrupt`, one is missing, or too many
                in a row are corrupt.
        """
        taken: list[int] = []

        def decoded() -> Iterator[np.ndarray]:
            for index in indices:
                at, pixels = self._decode_or_next(index)
                taken.append(at)
                yield pixels

        epoch = int(self._epoch)
        images_B3HW = self._transform(decoded(), [(epoch, index) for index in indices])
        return images_B3HW, self._targets_NK[taken]

    def _decode_or_next(self, index: int) -> tuple[int, np.ndarray]:
        """The image, or where corrupt ones are skipped the next that is not, and its index: the same at every time."""
        first: CorruptImage | None = None
        for offset in range(min(len(self), _MOST_IN_A_ROW)):
            taken = (index + offset) % len(self)
            try:
                return taken, self._decode(taken)
            except CorruptImage as error:
                first = first or error
                if self._skipped_N is None:
                    break
                self._skipped_N[index] = 1
        assert first is not None
        raise first

    def _decode(self, index: int) -> np.ndarray:
        stored = self._images[index].as_py()
        try:
            encoded, at_least = self._read(stored), self._transform.decode_at_least
            return decode_pixels(encoded, at_least=at_least, background=self._background)
        except UndecodableError as error:
            raise CorruptImage(self._complaint(index, stored, str(error))) from None
        except DataError as error:
            raise UnreadableImage(self._complaint(index, stored, str(error))) from None
        except (OSError, ValueError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UnreadableImage(self._complaint(index, stored, reason)) from None

    def _read(self, stored: str | bytes) -> bytes:
        if isinstance(stored, bytes):
            return stored
        return self._path(stored).read_bytes() if self._shards is None else self._shards.read(stored)

    def _complaint(self, index: int, stored: str | bytes, reason: str) -> str:
        what: object = f"{len(stored)} bytes" if isinstance(stored, bytes) else stored
        if isinstance(stored, str) and self._shards is None:
            what = self._path(stored)
        return f"{self._where}, row {index}, image {what}: cannot be read ({reason}); valid: an image file"

    def _path(self, stored: str) -> Path:
        return (self._root or Path()) / stored
