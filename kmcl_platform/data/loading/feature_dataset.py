"""Features and targets of one split: what a trial with a frozen backbone trains on, instead of images.

Legend of shapes: B batch, D features, K classes, N rows of the split, V views of each row.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from kmcl_platform.data.loading.dataset import Batch, ImageDataset


class FeatureDataset(Dataset[Batch]):
    """The features of one split, which were computed before; a batch is taken by its rows.

    It has the attributes of `ImageDataset` that training uses.

    Attributes:
        num_features: D.
    """

    def __init__(self, features_VND: np.ndarray, rows_N: np.ndarray, targets_NK: np.ndarray) -> None:
        """
        Args:
            features_VND: float32 or float16, perhaps a memory map. In epoch e, row n has its view (e + n) mod V.
            rows_N: the row of the split that each row's features are of. It differs from the row's own number where a
                corrupt image was replaced by another one.
            targets_NK: of the split: 1 positive, 0 negative, -1 unknown.

        Raises:
            ValueError: the lengths differ.
        """
        if not features_VND.shape[1] == len(rows_N) == len(targets_NK):
            lengths = f"{features_VND.shape[1]}, {len(rows_N)} and {len(targets_NK)}"
            raise ValueError(f"rows: got {lengths}; valid: as many each")
        self._num_views, _, self.num_features = features_VND.shape
        # One row for each view and row: a batch is then one selection of rows.
        self._features_MD = torch.from_numpy(features_VND).flatten(0, 1)
        self._epoch = 0
        # A replaced image has the labels of the one that replaced it.
        self._targets_NK = torch.from_numpy(targets_NK[rows_N])
        self._replaced_N = torch.from_numpy(rows_N != np.arange(len(rows_N)))
        self._replaces = bool(self._replaced_N.any())
        # 1 where a replaced image was requested in this epoch.
        self._skipped_N = torch.zeros_like(self._replaced_N)

    def __len__(self) -> int:
        return len(self._targets_NK)

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self._targets_NK.shape[1])

    @property
    def max_labels(self) -> int:
        """The largest number of positive labels of a row, but at least 1."""
        return max(1, int((self._targets_NK == 1).sum(1).max()))

    @property
    def row_groups(self) -> None:
        """As of images that are not packed: every order of the rows is equally fast."""
        return None

    def count_skipped(self) -> int:
        """The number of replaced images that were requested since `set_epoch`."""
        return int(self._skipped_N.sum())

    def set_epoch(self, epoch: int) -> None:
        """Choose the views of epoch 0, 1, ..., and set the number of skipped images to 0."""
        self._epoch = epoch
        self._skipped_N.zero_()

    def __getitem__(self, index: int) -> Batch:
        """One row: features_D float32, targets_K."""
        features_BD, targets_BK = self.__getitems__([index])
        return features_BD[0], targets_BK[0]

    def __getitems__(self, indices: list[int]) -> Batch:
        """One batch: features_BD float32, targets_BK."""
        return self.take(torch.tensor(indices))

    def take(self, rows_B: torch.Tensor) -> Batch:
        """One batch, as `__getitems__`, of rows in a tensor (int64)."""
        if self._replaces:
            self._skipped_N[rows_B] = self._replaced_N[rows_B]
        places_B = rows_B
        if self._num_views > 1:
            # Rows begin with different views, so that each epoch has all views.
            places_B = (self._epoch + rows_B) % self._num_views * len(self) + rows_B
        return self._features_MD.index_select(0, places_B).float(), self._targets_NK.index_select(0, rows_B)


class FeatureBatches:
    """The batches of a `FeatureDataset`, as a loader yields them.

    A loader of torch asks the sampler for each row and makes a list of each batch. That takes longer than the selection
    of the rows, which is all that happens here.
    """

    def __init__(self, dataset: FeatureDataset, sampler: Sampler[int], *, batch_size: int, drop_last: bool) -> None:
        """
        Args:
            dataset: the features.
            sampler: the rows of this worker; it has a length.
            batch_size: rows of a batch.
            drop_last: leave out a last batch that is not full.
        """
        self._dataset = dataset
        self._sampler = sampler
        self._batch_size = batch_size
        self._drop_last = drop_last

    def __len__(self) -> int:
        whole, rest = divmod(len(self._sampler), self._batch_size)  # type: ignore[arg-type]  # torch's type has no length
        return whole + (rest > 0 and not self._drop_last)

    def __iter__(self) -> Iterator[Batch]:
        rows_N = torch.tensor(list(self._sampler), dtype=torch.int64)
        for start in range(0, len(self) * self._batch_size, self._batch_size):
            yield self._dataset.take(rows_N[start : start + self._batch_size])


SplitDataset = ImageDataset | FeatureDataset
"""What a trial trains on, or is evaluated on."""
