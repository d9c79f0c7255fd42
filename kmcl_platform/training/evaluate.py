"""Scores of a whole split, the same for any number of workers."""

import math
from collections.abc import Collection

import torch
from torch import nn

from kmcl_platform.data.loading.feature_dataset import SplitDataset
from kmcl_platform.data.loading.loader import build_loader
from kmcl_platform.data.loading.samplers import ShardedSequence
from kmcl_platform.method.metrics import check_scores
from kmcl_platform.plugins.faults.code_errors import code_of, is_of_plugin
from kmcl_platform.plugins.metric import list_metrics
from kmcl_platform.training.device import Precision, to_device
from kmcl_platform.training.workers.distributed import Workers


class SplitScorer:
    """Scores of every image of a split, once each. The workers share the images. It can score many models."""

    def __init__(
        self,
        dataset: SplitDataset,
        *,
        batch_size: int,
        workers: Workers,
        processes: int = 0,
        first: int | None = None,
    ) -> None:
        """
        Args:
            dataset: N images, or their features.
            batch_size: images per forward pass on each worker.
            workers: the group that shares the images.
            processes: decoding processes for each worker. They stay alive as long as this object.
            first: number of images to score, from the beginning of the split; N is then this number. None: all.
        """
        self._dataset = dataset
        self._workers = workers
        self._total = len(dataset) if first is None else min(first, len(dataset))
        self._loader = build_loader(
            dataset,
            # Not DistributedSampler: it repeats images until all shares are equal, and a score must count each image
            # once.
            ShardedSequence(self._total, rank=workers.rank, world_size=workers.world_size),
            batch_size=batch_size,
            drop_last=False,
            processes=processes,
            pin_memory=workers.device.type == "cuda",
        )

    @torch.no_grad()
    def score(self, model: nn.Module, precision: Precision | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Score the images; all workers call this.

        Args:
            model: returns (features_BD, mixture). It is put into evaluation mode.
            precision: of the model's forward pass. None: float32.

        Returns:
            scores_NK, probabilities in [0, 1], and targets_NK (1, 0, or -1 for unknown), both on the CPU, in the
            split's order, on every worker.
        """
        # Batch normalisation uses its running statistics, so the scores do not depend on the composition of batches.
        model.eval()
        device, num_classes = self._workers.device, self._dataset.num_classes
        precision = precision or Precision(device.type)
        # The lists begin with an empty tensor, because a worker may get no image. The scores stay on the device until
        # the end: to copy each batch would wait for it.
        scores = [torch.empty((0, num_classes), device=device)]
        targets = [torch.empty((0, num_classes), dtype=torch.int8)]
        for images_B3HW, targets_BK in self._loader:
            with precision.autocast():
                _, mixture = model(to_device(images_B3HW, device))
            scores.append(mixture.logits_BK.float().sigmoid())
            targets.append(targets_BK)
        # Gathered on the device of the process group: NCCL cannot gather from the CPU.
        scores_NK = self._workers.gather_interleaved(torch.cat(scores), self._total).cpu()
        own_NK = torch.cat(targets)
        if self._workers.world_size == 1:
            return scores_NK, own_NK
        return scores_NK, self._workers.gather_interleaved(own_NK.to(device), self._total).cpu()


def evaluate_scores(
    scores_NK: torch.Tensor, targets_NK: torch.Tensor, plugins: Collection[str] = ()
) -> dict[str, float]:
    """All metrics of an evaluation; undefined ones are left out. Without a known label no metric is defined.

    Args:
        scores_NK: probabilities.
        targets_NK: 1 positive, 0 negative, -1 unknown.
        plugins: whose metrics are computed too, after the platform's own.

    Returns:
        Metric name to value. The platform's own are in [0, 1], and larger is better.

    Raises:
        ValueError: shapes differ, a score is not in [0, 1], or a target has another value.
        PluginError: the code of a plug-in raises an error.
    """
    check_scores(scores_NK, targets_NK)
    found: dict[str, float] = {}
    for metric in list_metrics(plugins):
        with code_of(metric):
            # Copies: a metric of a plug-in may change its arguments, and the others use them too.
            own = (scores_NK.clone(), targets_NK.clone()) if is_of_plugin(metric) else (scores_NK, targets_NK)
            found |= metric().measure_all(*own)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def split_metrics(
    split: str, scores_NK: torch.Tensor, targets_NK: torch.Tensor, plugins: Collection[str] = ()
) -> dict[str, float]:
    """Every metric of `evaluate_scores`, under `SPLIT/NAME`."""
    return {f"{split}/{name}": value for name, value in evaluate_scores(scores_NK, targets_NK, plugins).items()}
