"""Scores of a whole split, the same for any number of workers."""

import torch
from torch import nn

from kmcl_platform.data.loading.feature_dataset import SplitDataset
from kmcl_platform.data.loading.loader import build_loader
from kmcl_platform.data.loading.samplers import ShardedSequence
from kmcl_platform.method.metrics import evaluate_scores
from kmcl_platform.training.workers.distributed import Workers


@torch.no_grad()
def score_split(
    model: nn.Module,
    dataset: SplitDataset,
    *,
    batch_size: int,
    workers: Workers,
    processes: int = 0,
    first: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score every image of a split once. The workers share the images.

    Args:
        model: returns (features_BD, mixture). It is put into evaluation mode.
        dataset: N images, or their features.
        batch_size: images per forward pass on each worker.
        workers: the group that shares the images; all of them call this.
        processes: decoding processes for each worker.
        first: number of images to score, from the beginning of the split; N is then this number. None: all.

    Returns:
        scores_NK, probabilities in [0, 1], and targets_NK (1, 0, or -1 for unknown), both on the CPU, in the split's
        order, on every worker.
    """
    # Batch normalisation uses its running statistics, so the scores do not depend on the composition of batches.
    model.eval()
    total = len(dataset) if first is None else min(first, len(dataset))
    # Not DistributedSampler: it repeats images until all shares are equal, and a score must count each image once.
    sampler = ShardedSequence(total, rank=workers.rank, world_size=workers.world_size)
    loader = build_loader(
        dataset,
        sampler,
        batch_size=batch_size,
        drop_last=False,
        processes=processes,
        pin_memory=workers.device.type == "cuda",
    )
    # The list begins with an empty tensor, because a worker may get no image.
    scores = [torch.empty((0, dataset.num_classes))]
    targets = [torch.empty((0, dataset.num_classes), dtype=torch.int8)]
    for images_B3HW, targets_BK in loader:
        _, mixture = model(images_B3HW.to(workers.device, non_blocking=True))
        scores.append(mixture.logits_BK.float().sigmoid().cpu())
        targets.append(targets_BK)
    # Gathered on the device of the process group: NCCL cannot gather from the CPU.
    scores_NK = workers.gather_interleaved(torch.cat(scores).to(workers.device), total).cpu()
    targets_NK = workers.gather_interleaved(torch.cat(targets).to(workers.device), total).cpu()
    return scores_NK, targets_NK


def split_metrics(split: str, scores_NK: torch.Tensor, targets_NK: torch.Tensor) -> dict[str, float]:
    """Every evaluation metric under `SPLIT/NAME`. Metrics that are undefined on this split are left out."""
    return {f"{split}/{name}": value for name, value in evaluate_scores(scores_NK, targets_NK).items()}
