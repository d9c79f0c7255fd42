"""fit: train one trial, epoch by epoch, from its start or its last checkpoint."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from kmcl_platform.config.reports.epoch_report import SKIPPED_IMAGES, EpochReport
from kmcl_platform.config.seeds import derive_seed
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.loading.dataset import build_loader
from kmcl_platform.data.loading.shard_shuffle import build_training_order
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.scores_file import SplitScores
from kmcl_platform.errors import ConfigError, DataError
from kmcl_platform.method.losses import BatchGather, LossParts
from kmcl_platform.training.build import build_dataset, build_loss, build_model
from kmcl_platform.training.checkpoints.checkpoint import (
    TrialState,
    load_weights,
    read_optimizer_state,
    read_state,
    write_checkpoint,
)
from kmcl_platform.training.checkpoints.checkpoint_folder import find_checkpoint
from kmcl_platform.training.evaluate import score_split, split_metrics
from kmcl_platform.training.gradient_shares import TermGradients
from kmcl_platform.training.optim import OPTIMIZERS, moving_average, one_cycle, parameter_groups
from kmcl_platform.training.random_state import seed_everything
from kmcl_platform.training.step import LossWatch, TrainStep
from kmcl_platform.training.workers.batch_norm import synchronise_batch_norm
from kmcl_platform.training.workers.distributed import Workers
from kmcl_platform.training.workers.resource_usage import UsageMeter

Report = Callable[[EpochReport], bool]
"""Takes an epoch's result on the first worker; says whether the trial is to go on."""


def fit(config: TrialConfig, manifest: Manifest, *, checkpoints: Path, report: Report, workers: Workers) -> None:
    """Train a trial until its last epoch, or until `report` says no.

    Every worker of the group calls this with the same arguments. After each epoch the first worker writes a checkpoint
    and reports. A trial whose folder holds a checkpoint goes on after it, and gives the numbers that it would have
    given undisturbed; the reports of its finished epochs are made again first, because whoever listened may have died
    before hearing them.

    Args:
        config: the trial.
        manifest: the data; its splits `train` and `val` are used.
        checkpoints: the trial's own folder, on storage that all workers see.
        report: called on the first worker only.
        workers: this process's place in the group.

    Raises:
        ConfigError: the backbone is unknown, or the batch cannot be divided among the workers.
        WeightsError: the trial begins, and its pretrained weights cannot be had.
        DataError: a split is missing or too small, or an image cannot be read.
        Diverged: a term of the loss stopped being finite; raised on every worker alike.
    """
    # Kernels far from a feature have gradients too small for normal floats, on which CPUs are many times slower.
    torch.set_flush_denormal(True)
    found = workers.broadcast(find_checkpoint(checkpoints) if workers.is_first else None)
    trial = Trial(config, manifest, workers, pretrained=found is None)
    reports = trial.restore(found) if found else ()
    for earlier in reports:
        if not _verdict(workers, report, earlier):
            return
    for epoch in range(len(reports) + 1, config.num_epochs + 1):
        started = time.monotonic()
        trial.meter.start()
        metrics = trial.train_epoch(epoch) | trial.validate()
        result = EpochReport(
            epoch=epoch,
            metrics=metrics,
            seconds=time.monotonic() - started,
            usage=trial.usage(),
            resumed_from=int(found.name.removeprefix("epoch-")) if found else 0,
            process_id=os.getpid(),
        )
        reports = (*reports, result)
        if workers.is_first:
            trial.save(checkpoints, reports)
        if not _verdict(workers, report, result):
            return


def _verdict(workers: Workers, report: Report, result: EpochReport) -> bool:
    return workers.broadcast(report(result) if workers.is_first else False)


class Trial:
    """The objects of one trial on one worker; without `pretrained` its weights are those of the checkpoint to come."""

    def __init__(self, config: TrialConfig, manifest: Manifest, workers: Workers, *, pretrained: bool = True) -> None:
        self.config = config
        self.manifest = manifest
        self.workers = workers
        self.batch_size = _batch_per_worker(config, workers)
        seed_everything(derive_seed(config.seed, "model"))
        model = build_model(config.model, len(manifest.class_names), pretrained=pretrained)
        if config.model.sync_batch_norm and workers.world_size > 1:
            synchronise_batch_norm(model, workers.device)
        # Convolutions are faster with channels last, on CPUs (1.2 to 1.8 times here) as on tensor cores.
        self.model = model.to(workers.device).to(memory_format=torch.channels_last)
        self.average = moving_average(self.model, config.optim.ema_decay)
        self.training_set = build_dataset(config, manifest, "train")
        self.validation_set = build_dataset(config, manifest, "val")
        self.sampler = build_training_order(
            self.training_set,
            rank=workers.rank,
            world_size=workers.world_size,
            seed=derive_seed(config.seed, "order"),
        )
        self.loader = build_loader(
            self.training_set,
            self.sampler,
            batch_size=self.batch_size,
            drop_last=True,
            processes=config.data.loader_processes,
            pin_memory=workers.device.type == "cuda",
        )
        if not len(self.loader):
            raise DataError(
                f"{manifest.name}: split train has {len(self.training_set)} images; valid: at least data.batch_size, "
                f"{config.data.batch_size}"
            )
        loss = build_loss(
            config.loss,
            gather=BatchGather(self.batch_size) if workers.world_size > 1 else None,
            # Counting labels is quicker on a CPU; on a GPU it would make the host wait for it at every step.
            max_labels=self.training_set.max_labels if workers.device.type == "cuda" else None,
        ).to(workers.device)
        optim = config.optim
        # One kernel for all parameters: on CPUs the update takes half the time of the loop over tensors.
        self.optimizer = OPTIMIZERS[optim.optimizer](
            parameter_groups(self.model, optim.weight_decay), lr=optim.lr, fused=True
        )
        self.schedule = one_cycle(
            self.optimizer,
            peak_lr=optim.lr,
            warmup_fraction=optim.warmup_fraction,
            total_steps=config.num_epochs * len(self.loader),
        )
        self.step = TrainStep(
            _distribute(self.model, workers, all_used=loss.trains_all),
            loss,
            self.optimizer,
            device=workers.device,
            mixed_precision=optim.mixed_precision,
            gradient_clip_norm=optim.gradient_clip_norm,
        )

        self.gradients = TermGradients(self.model.head)
        self.meter = UsageMeter(workers)
        self.scores: SplitScores | None = None

    def begin_epoch(self, epoch: int) -> None:
        """Set the random state and the order of the images of an epoch, from 1."""
        seed_everything(derive_seed(self.config.seed, "epoch", epoch, self.workers.rank))
        self.sampler.set_epoch(epoch)
        self.training_set.set_epoch(epoch)
        self.model.train()

    def train_batch(
        self, images_B3HW: torch.Tensor, targets_BK: torch.Tensor, gradients: TermGradients | None = None
    ) -> LossParts:
        """One optimizer step, with the schedule's and the average's; the terms of the loss."""
        parts = self.step(images_B3HW, targets_BK, gradients)
        self.schedule.step()
        self.average.update_parameters(self.model)
        return parts

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Train through the training split once.

        Returns:
            The means of the loss and its terms, the terms' shares of the last step's gradient, and what was skipped.
        """
        self.begin_epoch(epoch)
        watch = LossWatch(self.workers, first_step=(epoch - 1) * len(self.loader) + 1)
        last = len(self.loader)
        for step, (images_B3HW, targets_BK) in enumerate(self.loader, start=1):
            watch.add(self.train_batch(images_B3HW, targets_BK, self.gradients if step == last else None))
        self.workers.broadcast_buffers(self.average)
        return watch.means() | self.gradients.shares(self.workers) | self._count_skipped()

    def usage(self) -> dict[str, float]:
        """What the epoch took of the machine."""
        return self.meter.usage(len(self.loader) * self.batch_size)

    def _count_skipped(self) -> dict[str, float]:
        if self.config.data.corrupt_images == "error":
            return {}
        own = torch.tensor(float(self.training_set.count_skipped()), device=self.workers.device)
        # Each image is asked for by one worker, so that the counts add up.
        return {SKIPPED_IMAGES: float(round(float(self.workers.mean(own)) * self.workers.world_size))}

    def validate(self) -> dict[str, float]:
        """The metrics of the averaged weights on the whole validation split; keeps their scores for the checkpoint."""
        scores_NK, targets_NK = score_split(
            self.average,
            self.validation_set,
            batch_size=self.batch_size,
            workers=self.workers,
            processes=self.config.data.loader_processes,
        )
        if not self.workers.is_first:
            return {}
        self.scores = SplitScores(scores_NK.numpy(), targets_NK.numpy())
        return split_metrics("val", scores_NK, targets_NK)

    def save(self, folder: Path, reports: tuple[EpochReport, ...]) -> Path:
        """Write the checkpoint of the last report's epoch."""
        return write_checkpoint(
            folder,
            TrialState(self.config, self.manifest.class_names, reports),
            model=self.model,
            average=self.average.module,
            scores=self.scores,
            optimizer_state={
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "scaler": self.step.scaler.state_dict(),
                "num_averaged": int(self.average.n_averaged),
            },
        )

    def restore(self, checkpoint: Path) -> tuple[EpochReport, ...]:
        """Go back to a checkpoint; returns the reports of its epochs."""
        load_weights(checkpoint, model=self.model, average=self.average.module)
        state = read_optimizer_state(checkpoint, self.workers.device)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step.scaler.load_state_dict(state["scaler"])
        self.average.n_averaged.fill_(state["num_averaged"])
        return read_state(checkpoint).reports


def _batch_per_worker(config: TrialConfig, workers: Workers) -> int:
    share, rest = divmod(config.data.batch_size, workers.world_size)
    if rest:
        raise ConfigError(
            f"data.batch_size: got {config.data.batch_size}; valid: a multiple of the {workers.world_size} workers"
        )
    return share


def _distribute(model: nn.Module, workers: Workers, *, all_used: bool) -> nn.Module:
    if workers.world_size == 1:
        return model
    devices = [workers.device] if workers.device.type == "cuda" else None
    # Parts of the head that no term of the objective trains get no gradient, which must be looked for at each step.
    # Batch-norm statistics need not agree while training, where they are not used: the first worker's are sent round
    # once an epoch, before evaluation, rather than at every step.
    return DistributedDataParallel(
        model, device_ids=devices, find_unused_parameters=not all_used, forward_sync_buffers=False
    )
