"""The data of a trial on one worker: images or the features of a frozen backbone, and their batches."""

import logging
from pathlib import Path

import torch
from torch import nn

from kmcl_platform.config.reports.epoch_report import SKIPPED_IMAGES
from kmcl_platform.config.store import full_disk_is_store_error
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.augmentation.augmented_batches import AugmentedBatches
from kmcl_platform.data.loading.dataset import ImageDataset
from kmcl_platform.data.loading.feature_dataset import FeatureDataset, SplitDataset
from kmcl_platform.data.loading.loader import Batches, build_loader
from kmcl_platform.data.loading.shard_shuffle import build_training_order
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.errors import ConfigError, DataError
from kmcl_platform.seeds import derive_seed
from kmcl_platform.training.build import augmentation_seed, build_dataset
from kmcl_platform.training.checkpoints.epoch_part import EpochPart, WorkerPart
from kmcl_platform.training.device import Precision
from kmcl_platform.training.evaluate import SplitScorer
from kmcl_platform.training.features.backbone_weights import store_backbone
from kmcl_platform.training.features.cache import open_features
from kmcl_platform.training.features.sources import BackboneSource, FileSource
from kmcl_platform.training.workers.distributed import Workers
from kmcl_platform.training.workers.random_state import read_random_state

logger = logging.getLogger(__name__)

_EVALUATION_VALUES = 2**24
"""Largest number of means of kernels that an evaluation on features computes at the same time: 64 MiB."""


class TrialInputs:
    """What a trial trains on and is evaluated on.

    Attributes:
        backbone: digest of the frozen backbone's weights. Empty: the backbone is trained, or there is none.
        own_features: digest of the user's own file of features. Empty: there is none.
        training_set: the split `train`.
        validation_set: the split `val`.
        num_features: D, if these are features. None: images.
        batch_size: of this worker.
        sampler: the order of the training split.
        loader: its batches.
        processes: number of loader processes.
    """

    def __init__(
        self,
        config: TrialConfig,
        manifest: Manifest,
        workers: Workers,
        *,
        features: Path | None = None,
        backbone: str = "",
    ) -> None:
        """Open the data. All workers of the group call this, and compute the features that are missing.

        Args:
            config: the trial.
            manifest: the data.
            workers: this process's place in the group.
            features: the store's folder of features. None: only if the backbone is trained.
            backbone: the digest in the checkpoint from which a trial with a frozen backbone continues. Empty: it
                begins.

        Raises:
            ConfigError: the backbone is unknown, or the batch cannot be divided among the workers.
            WeightsError: the weights of a frozen backbone cannot be loaded.
            DataError: a split is missing or too small, or an image of a frozen backbone cannot be read.
            StoreError: the disk is full.
            ValueError: the backbone is frozen, and there is no folder.
        """
        self._config = config
        self._workers = workers
        self._name = manifest.name
        self.batch_size = _batch_per_worker(config, workers)
        self.backbone = self.own_features = ""
        self.training_set: SplitDataset
        self.validation_set: SplitDataset
        self.num_features: int | None = None
        self.processes = config.data.loader_processes
        if config.model.backbone_mode == "frozen":
            if features is None:
                raise ValueError("features: got None; valid: a folder, because model.backbone_mode is frozen")
            if config.data.features is None:
                self.backbone, train, val = _open_frozen(config, manifest, workers, features, backbone)
            else:
                self.own_features, train, val = _open_own(config, manifest, workers, features)
            self.training_set, self.validation_set, self.num_features = train, val, train.num_features
            # Rows of a memory map need no decoding, so other processes would only cost time.
            self.processes = 0
        else:
            self.training_set = build_dataset(config, manifest, "train", may_cache=True)
            self.validation_set = build_dataset(config, manifest, "val", may_cache=True)
        self.sampler = build_training_order(
            self.training_set,
            rank=workers.rank,
            world_size=workers.world_size,
            seed=derive_seed(config.seed, "order"),
        )
        self.loader: Batches = build_loader(
            self.training_set,
            self.sampler,
            batch_size=self.batch_size,
            # All workers take the same number of steps, with batches of the length that the gather expects.
            drop_last=True,
            processes=self.processes,
            pin_memory=workers.device.type == "cuda",
        )
        if config.data.augment_batches and isinstance(self.training_set, ImageDataset):
            self.loader = AugmentedBatches(
                self.loader,
                config.data.augmentation_component.build_batched(),
                order=self.sampler,
                epoch=self.training_set.current_epoch,
                num_images=len(self.training_set),
                seed=augmentation_seed(config),
                device=workers.device,
            )
        self._scorer: SplitScorer | None = None
        if not len(self.loader):
            raise DataError(
                f"{manifest.name}: split train has {len(self.training_set)} images; valid: at least data.batch_size, "
                f"{config.data.batch_size}"
            )

    def begin_epoch(self, epoch: int, part: EpochPart | None) -> None:
        """Choose the order and the random changes of an epoch, from 1, or of what is left of it."""
        self.sampler.set_epoch(epoch, part.step * self.batch_size if part else 0)
        self.training_set.set_epoch(epoch)
        if part is not None and isinstance(self.training_set, ImageDataset):
            self.training_set.add_skipped(part.workers[self._workers.rank]["skipped"])

    def worker_part(self) -> WorkerPart:
        """What is this worker's own in the state of an epoch."""
        skipped = self.training_set.skipped() if isinstance(self.training_set, ImageDataset) else []
        return WorkerPart(random=read_random_state(self._workers.device), skipped=skipped)

    def count_skipped(self) -> dict[str, float]:
        """The number of corrupt images of the epoch over all workers, under its metric; empty: they are errors."""
        if self._config.data.corrupt_images == "error":
            return {}
        own = torch.tensor(float(self.training_set.count_skipped()), device=self._workers.device)
        # Each image belongs to one worker, so the sum over workers counts no image twice.
        skipped = round(float(self._workers.mean(own)) * self._workers.world_size)
        if skipped and self._workers.is_first:
            logger.warning("%s: skipped %d corrupt training images in this epoch", self._name, skipped)
        return {SKIPPED_IMAGES: float(skipped)}

    def score_validation(
        self, model: nn.Module, precision: Precision, batches: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """scores_NK and targets_NK of a model on the validation split, on every worker.

        Args:
            model: as for `SplitScorer`.
            precision: of the model.
            batches: score so many batches of each worker only, from the beginning of the split. None: the whole split.
        """
        if batches is None:
            # Kept for the next epoch, with its loader processes.
            self._scorer = self._scorer or self._make_scorer(None)
            return self._scorer.score(model, precision)
        rows = self._evaluation_batch()
        return self._make_scorer(batches * rows * self._workers.world_size).score(model, precision)

    def _make_scorer(self, first: int | None) -> SplitScorer:
        return SplitScorer(
            self.validation_set,
            batch_size=self._evaluation_batch(),
            workers=self._workers,
            processes=self.processes,
            first=first,
        )

    def _evaluation_batch(self) -> int:
        if self.num_features is None:
            return self.batch_size
        model = self._config.model
        kernel_size = model.reduced_dim if model.kernel in ("anisotropic", "mahalanobis") else 1
        # The whole split in one pass, if it fits: without a backbone, a row needs little memory.
        values = self.validation_set.num_classes * model.kernels_per_class * kernel_size
        return max(self.batch_size, _EVALUATION_VALUES // values)


def _open_frozen(
    config: TrialConfig, manifest: Manifest, workers: Workers, features: Path, backbone: str
) -> tuple[str, FeatureDataset, FeatureDataset]:
    """The digest of the backbone, and the features of `train` and `val`."""

    def weights() -> str:
        with full_disk_is_store_error(features):
            return store_backbone(config, features)

    digest = backbone or workers.on_first(weights)
    train, val = (
        open_features(BackboneSource(config, manifest, split, backbone=digest, folder=features), workers, features)
        for split in ("train", "val")
    )
    return digest, train, val


def _open_own(
    config: TrialConfig, manifest: Manifest, workers: Workers, features: Path
) -> tuple[str, FeatureDataset, FeatureDataset]:
    """The digest of the user's file, and its features of `train` and `val`."""
    sources = [FileSource(config, manifest, split, folder=features) for split in ("train", "val")]

    def content() -> str:
        with full_disk_is_store_error(features):
            return sources[0].content()

    # Before the features: if the file is replaced in between, the digest is not that of other features.
    digest = workers.on_first(content)
    train, val = (open_features(source, workers, features) for source in sources)
    return digest, train, val


def _batch_per_worker(config: TrialConfig, workers: Workers) -> int:
    share, rest = divmod(config.data.batch_size, workers.world_size)
    if rest:
        raise ConfigError(
            f"data.batch_size: got {config.data.batch_size}; valid: a multiple of the {workers.world_size} workers"
        )
    return share
