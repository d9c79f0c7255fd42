"""Images and targets of one split, decoded in whole batches.

Legend of shapes: B batch, K classes, N images of the split, H = W image size in pixels.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from kmcl_platform.data.loading.decode import UndecodableError, decode_pixels
from kmcl_platform.data.loading.pixel_cache import PixelCache
from kmcl_platform.data.loading.to_rgb import WHITE, Colour
from kmcl_platform.data.loading.transforms import Transform, resize
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.storage.shard_index import locate
from kmcl_platform.data.storage.shard_reader import ShardReader
from kmcl_platform.errors import DataError
from kmcl_platform.messages import show_path

Batch = tuple[torch.Tensor, torch.Tensor]
"""images_B3HW uint8 (or features_BD float32), targets_BK int8 (1 positive, 0 negative, -1 unknown)."""
_MAX_SKIPPED_IN_A_ROW = 100
"""More corrupt images than this, one after another, are an error: then something else is wrong with the dataset."""

_logger = logging.getLogger(__name__)


class UnreadableImage(DataError):
    """An image is missing or cannot be decoded. The message names manifest, split, row and path, in one line."""

    def __init__(self, message: str) -> None:
        # A DataLoader raises the error of a loader process again, with the whole traceback as its message. The last
        # line of it is our message.
        last_line = message.rstrip().rpartition("\n")[2]
        super().__init__(last_line.removeprefix(f"{type(self).__module__}.{type(self).__qualname__}: "))


class CorruptImage(UnreadableImage):
    """An image was read, but its bytes cannot be decoded. Reading it again would not help.

    A missing file or a disk that fails is an `UnreadableImage` only.
    """


class ImageDataset(Dataset[Batch]):
    """The images of one split, decoded when they are needed. It can be pickled for loader processes."""

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        transform: Transform,
        *,
        background: Colour = WHITE,
        skip_corrupt: bool = False,
        cache: PixelCache | None = None,
    ) -> None:
        """
        Args:
            manifest: where the images are, and their targets.
            split: `train`, `val` or `test`.
            transform: from decoded images to images_B3HW.
            background: the colour behind transparent pixels.
            skip_corrupt: replace a corrupt image by the next readable image of the split and that image's targets. The
                skipped images are counted, and each one is logged once. Only for `train`: in another split it would
                change the meaning of a score.
            cache: holds the split's images at the size of the transform. None: each image is decoded each time.

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
        # A pickled dataset contains only the images of its split.
        self._images = rows["bytes" if self._encoded else "image"]
        self._targets_NK = torch.from_numpy(manifest.targets(split).copy())
        self._root = manifest.root
        self._shards = None if manifest.packing is None else ShardReader(manifest.packing)
        self._where = f"manifest {manifest.name!r}, split {split!r}"
        self._transform = transform
        self._background = background
        self._cache = cache
        # These tensors are in shared memory, because loader processes set them or read them, and outlive an epoch.
        # 1 where an image was requested in this epoch and skipped.
        self._skipped_N = torch.zeros(len(self), dtype=torch.uint8).share_memory_() if skip_corrupt else None
        # 1 where an image was skipped in any epoch: it is in the log already.
        self._logged_N = torch.zeros(len(self), dtype=torch.uint8).share_memory_() if skip_corrupt else None
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self._targets_NK)

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self._targets_NK.shape[1])

    @property
    def max_labels(self) -> int:
        """The largest number of positive labels of an image, but at least 1."""
        return max(1, int((self._targets_NK == 1).sum(1).max()))

    @property
    def row_groups(self) -> tuple[np.ndarray, np.ndarray] | None:
        """For each image, the number of its shard and of the row group in that shard: shards_N and groups_N.

        Both are int64 and count from 0. None: the images are not packed.
        """
        if self._shards is None:
            return None
        rows_N, shards_N = locate(self._shards.packing, self._images)
        sizes = np.array([shard.group_images for shard in self._shards.packing.shards.values()])
        return shards_N, rows_N // sizes[shards_N]

    def count_skipped(self) -> int:
        """The number of images that were requested and skipped since `set_epoch`; 0 without `skip_corrupt`."""
        return 0 if self._skipped_N is None else int(self._skipped_N.sum())

    def skipped(self) -> list[int]:
        """The images that `count_skipped` counts."""
        return [] if self._skipped_N is None else self._skipped_N.nonzero()[:, 0].tolist()

    def add_skipped(self, images: list[int]) -> None:
        """Count these images too: they were skipped in the same epoch, by a process that this one replaces."""
        if self._skipped_N is not None:
            self._skipped_N[images] = 1

    def set_epoch(self, epoch: int) -> None:
        """Choose the augmentation of epoch 0, 1, ..., and set the number of skipped images to 0."""
        self._epoch.fill_(epoch)
        if self._skipped_N is not None:
            self._skipped_N.zero_()

    def current_epoch(self) -> int:
        """The epoch that was chosen last."""
        return int(self._epoch)

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
            UnreadableImage: an image is missing or cannot be decoded. With `skip_corrupt`: an image is missing, or too
                many in a row are corrupt.
        """
        images_B3HW, rows = self.load(indices)
        return images_B3HW, self._targets_NK[rows]

    def load(self, indices: list[int]) -> tuple[torch.Tensor, list[int]]:
        """The images of one batch, and the row of each: of the image itself, or of the one that replaces it.

        Raises:
            UnreadableImage: as `__getitems__`.
        """
        taken: list[int] = []

        def decoded() -> Iterator[np.ndarray]:
            for index in indices:
                at, pixels = self._decode_or_next(index)
                taken.append(at)
                yield pixels

        epoch = self.current_epoch()
        # The transform consumes all of `decoded`, so `taken` is complete when it returns.
        images_B3HW = self._transform(decoded(), [(epoch, index) for index in indices])
        return images_B3HW, taken

    def _decode_or_next(self, index: int) -> tuple[int, np.ndarray]:
        """The index and the pixels of an image, or of the next readable one if corrupt images are skipped.

        The result does not depend on what was read before, so a resumed trial sees the same batches.
        """
        # At the end, the first error is raised: it names the image that the batch should have had.
        first: CorruptImage | None = None
        for offset in range(min(len(self), _MAX_SKIPPED_IN_A_ROW)):
            # The next one by index: which image replaces another one depends on the data alone, not on the order of the
            # epoch.
            taken = (index + offset) % len(self)
            try:
                return taken, self._decode(taken)
            except CorruptImage as error:
                first = first or error
                if self._skipped_N is None:
                    break
                # At the requested image: a corrupt image that is only passed on the way to a readable one does not
                # count.
                self._skipped_N[index] = 1
                self._log_once(taken, error)
        assert first is not None
        raise first

    def _log_once(self, index: int, error: CorruptImage) -> None:
        """Log that an image is skipped, unless a process that shares this dataset has done so."""
        assert self._logged_N is not None
        # Without a lock: two processes may both log an image, which is harmless.
        if not self._logged_N[index]:
            self._logged_N[index] = 1
            _logger.warning("corrupt image skipped: %s", error)

    def _decode(self, index: int) -> np.ndarray:
        if self._cache is None:
            return self._decode_stored(index)
        pixels_SS3 = self._cache.read(index)
        if pixels_SS3 is None:
            pixels_SS3 = resize(self._decode_stored(index), self._cache.size)
            self._cache.write(index, pixels_SS3)
        return pixels_SS3

    def _decode_stored(self, index: int) -> np.ndarray:
        stored = self._images[index].as_py()
        try:
            encoded, at_least = self._read(stored), self._transform.decode_at_least
            return decode_pixels(encoded, at_least=at_least, background=self._background)
        except UndecodableError as error:
            raise CorruptImage(self._message(index, stored, str(error))) from None
        except DataError as error:
            raise UnreadableImage(self._message(index, stored, str(error))) from None
        # A path with a NUL character is a ValueError.
        except (OSError, ValueError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UnreadableImage(self._message(index, stored, reason)) from None

    def _read(self, stored: str | bytes) -> bytes:
        if isinstance(stored, bytes):
            return stored
        return self._path(stored).read_bytes() if self._shards is None else self._shards.read(stored)

    def _message(self, index: int, stored: str | bytes, reason: str) -> str:
        if isinstance(stored, bytes):
            image = f"{len(stored)} bytes"
        else:
            image = stored if self._shards is not None else show_path(self._path(stored))
        return f"{self._where}, row {index}, image {image}: cannot be read ({reason}); valid: an image file"

    def _path(self, stored: str) -> Path:
        return (self._root or Path()) / stored
