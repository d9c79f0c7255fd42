"""Where features come from: a frozen backbone, or a user's own file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.loading.own_features import digest_own_features, read_own_features, rows_of_split
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.picture_digest import digest_pictures
from kmcl_platform.errors import DataError
from kmcl_platform.training.build import build_dataset
from kmcl_platform.training.features.backbone_weights import load_backbone
from kmcl_platform.training.features.feature_batches import feature_batches
from kmcl_platform.training.workers.distributed import Workers

_ROWS = 4096
"""Rows of a user's file that are written together."""


class FeatureSource(Protocol):
    """The features of one split.

    Attributes:
        manifest: the data.
        split: `train`, `val` or `test`.
        name: for messages.
        inputs: what the features are made of, for messages.
        dtype: `float32` or `float16`.
        rows: N.
        views: V.
    """

    manifest: Manifest
    split: str
    name: str
    inputs: str
    dtype: str
    rows: int
    views: int

    def facts(self) -> dict[str, Any]:
        """Everything that decides the features, as it is now; as JSON. Only the first worker calls this."""

    def batches(self, workers: Workers) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """features_BD and rows_B, view after view, in the order of the split.

        All workers call this. The first one gets all batches. The others get the same ones, or none. What is raised is
        raised on all of them.
        """


class BackboneSource:
    """The features that a frozen backbone computes of the pictures."""

    inputs = "pictures were"

    def __init__(self, config: TrialConfig, manifest: Manifest, split: str, *, backbone: str, folder: Path) -> None:
        """
        Args:
            config: the trial.
            manifest: the data.
            split: `train`, `val` or `test`.
            backbone: the digest of the backbone's weights.
            folder: of the store's features.

        Raises:
            DataError: the split has no images.
        """
        # One seed for all trials, which share the random changes of the images.
        self._images = build_dataset(config.model_copy(update={"seed": 0}), manifest, split)
        self._config = config
        self._backbone = backbone
        self._folder = folder
        self.manifest, self.split = manifest, split
        self.name, self.dtype = config.model.backbone, str(config.model.feature_dtype)
        self.rows = len(self._images)
        self.views = (config.data.views or 1) if split == "train" else 1

    def facts(self) -> dict[str, Any]:
        """See `FeatureSource`."""
        data, trains = self._config.data, self.split == "train"
        return {
            "pictures": digest_pictures(self.manifest, self.split, self._folder / "pictures").content,
            "backbone": self.name,
            "weights": self._backbone,
            "dtype": self.dtype,
            "image_size": data.image_size,
            "background": data.background,
            # Only in `train` another image can take the place of a corrupt one.
            "corrupt_images": data.corrupt_images if trains else "error",
            "augmentation": data.augmentation if trains else "none",
            "views": self.views,
        } | (self._own_changes() if trains else {})

    def _own_changes(self) -> dict[str, Any]:
        """What else decides the changes of an augmentation with options, or of a plug-in."""
        data = self._config.data
        facts = {
            "augmentation_options": data.augmentation_options.get(data.augmentation),
            "augmentation_code": self._config.code_of(data.augmentation_component),
        }
        # Without the others, so that features that an older version has kept are found.
        return {name: value for name, value in facts.items() if value is not None}

    def batches(self, workers: Workers) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """See `FeatureSource`."""
        network = load_backbone(self._config, self._backbone, self._folder).to(workers.device)
        network = network.to(memory_format=torch.channels_last).eval()
        processes = self._config.data.loader_processes
        yield from feature_batches(network, self._images, workers, views=self.views, processes=processes)


class FileSource:
    """The features in a user's own file."""

    inputs = "the file of data.features was"
    views = 1

    def __init__(self, config: TrialConfig, manifest: Manifest, split: str, *, folder: Path) -> None:
        """
        Args:
            config: the trial, with `data.features`.
            manifest: the data.
            split: `train`, `val` or `test`.
            folder: of the store's features.

        Raises:
            DataError: the split has no images.
        """
        assert config.data.features is not None
        self._rows_N = rows_of_split(manifest, split)
        if not len(self._rows_N):
            raise DataError(f"manifest {manifest.name!r}: split {split!r} has no images; valid: one or more")
        self._folder = folder
        self.manifest, self.split = manifest, split
        self.name, self.dtype = config.data.features, str(config.model.feature_dtype)
        self.rows = len(self._rows_N)

    def facts(self) -> dict[str, Any]:
        """See `FeatureSource`."""
        # The whole manifest: its order of images is compared with that of the file.
        return {
            "file": self.content(),
            "manifest": self.manifest.content_hash,
            "split": self.split,
            "dtype": self.dtype,
        }

    def batches(self, workers: Workers) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """See `FeatureSource`."""
        found: list[np.ndarray] = []

        def read() -> None:
            found.append(read_own_features(self.name, self.manifest, self.dtype))

        # The others do not read the file: their nodes may not have it.
        workers.on_first(read)
        for features_ND in found:
            for start in range(0, self.rows, _ROWS):
                # A copy, because the file is mapped into memory and cannot be written to, of which torch warns.
                part_BD = features_ND[self._rows_N[start : start + _ROWS]].astype("float32")
                yield torch.from_numpy(part_BD), torch.arange(start, start + len(part_BD))

    def content(self) -> str:
        """The digest of the file's content as it is now.

        Raises:
            DataError: the file cannot be read.
        """
        return digest_own_features(self.name, self._folder / "pictures")
