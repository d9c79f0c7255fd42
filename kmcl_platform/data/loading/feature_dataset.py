"""Features and targets of one split: what a trial with a frozen backbone trains on, instead of images.

Legend of shapes: B batch, D features, K classes, N rows of the split, V views of each row.
"""

import numpy as np
import torch
from torch.utils.data import Dataset

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
        self.num_features = int(features_VND.shape[2])
        self._features_VND = torch.from_numpy(features_VND)
        self._epoch = 0
        # A replaced image has the labels of the one that replaced it.
        self._targets_NK = torch.from_numpy(targets_NK[rows_N])
        self._replaced_N = torch.from_numpy(rows_N != np.arange(len(rows_N)))
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
        rows_B = torch.tensor(indices)
        self._skipped_N[rows_B] = self._replaced_N[rows_B]
        # Rows begin with different views, so that each epoch has all views.
        views_B = (self._epoch + rows_B) % len(self._features_VND)
        return self._features_VND[views_B, rows_B].float(), self._targets_NK[rows_B]


SplitDataset = ImageDataset | FeatureDataset
"""What a trial trains on, or is evaluated on."""
