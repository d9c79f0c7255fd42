"""TrainingSession: the objects with which one worker trains a trial, and their work in an epoch."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.scores_file import SplitScores
from kmcl_platform.errors import Diverged
from kmcl_platform.method.losses import BatchGather, LossParts
from kmcl_platform.seeds import derive_seed
from kmcl_platform.training.build import LabelCounts, build_loss, build_model
from kmcl_platform.training.checkpoints.checkpoint import (
    TrialProgress,
    load_weights,
    read_optimizer_state,
    read_progress,
    write_checkpoint,
)
from kmcl_platform.training.checkpoints.continuation import check_same_features, check_same_steps
from kmcl_platform.training.checkpoints.epoch_part import EpochPart
from kmcl_platform.training.device import choose_precision, compile_network
from kmcl_platform.training.evaluate import split_metrics
from kmcl_platform.training.gradient_shares import DominanceWatch, TermGradients
from kmcl_platform.training.inputs import TrialInputs
from kmcl_platform.training.optim import MovingAverage, build_optimizer, one_cycle
from kmcl_platform.training.step import LossWatch, TrainStep, check_weights
from kmcl_platform.training.term_balance import TermBalance
from kmcl_platform.training.workers.batch_norm import synchronise_batch_norm
from kmcl_platform.training.workers.distributed import Workers, data_parallel
from kmcl_platform.training.workers.random_state import seed_everything, set_random_state
from kmcl_platform.training.workers.resource_usage import UsageMeter

logger = logging.getLogger(__name__)


class TrainingSession:
    """Trains and evaluates one trial on one worker."""

    def __init__(
        self,
        config: TrialConfig,
        manifest: Manifest,
        workers: Workers,
        *,
        continued: TrialProgress | None = None,
        features: Path | None = None,
    ) -> None:
        """Build everything, seeded by `config.seed`.

        Args:
            config: the trial.
            manifest: the data; its splits `train` and `val` are used.
            workers: this process's place in the group.
            continued: the progress in the checkpoint that `restore` will load next: pretrained weights are not needed.
            features: the store's folder of features. Only a trial with a frozen backbone needs it.

        Raises:
            ConfigError, WeightsError, DataError: as `fit`.
        """
        self.config = config
        self.manifest = manifest
        self.workers = workers
        # Before the seed, because the computation of features may draw random numbers.
        self.inputs = TrialInputs(
            config, manifest, workers, features=features, backbone=continued.backbone if continued else ""
        )
        self.batch_size, self.loader = self.inputs.batch_size, self.inputs.loader
        # Without the rank: all workers begin with the same weights, whatever their processes did before.
        seed_everything(derive_seed(config.seed, "model"))
        model = build_model(
            config,
            len(manifest.class_names),
            pretrained=continued is None,
            num_features=self.inputs.num_features,
        )
        if config.model.sync_batch_norm and workers.world_size > 1:
            synchronise_batch_norm(model, workers.device)
        # Convolutions are faster with channels last: on tensor cores, and on CPUs 1.2 to 1.8 times (measured).
        self.model = model.to(workers.device).to(memory_format=torch.channels_last)
        self.average = MovingAverage(self.model, config.optim.ema_decay)
        if config.optim.compile and self.model.backbone is not None:
            compile_network(self.model.backbone.network)
        targets_NK = manifest.targets("train")
        loss = build_loss(
            config.loss,
            LabelCounts((targets_NK == 1).sum(0).tolist(), len(targets_NK)),
            gather=BatchGather(self.batch_size, kernels_of=self.model.head.kernels_of)
            if workers.world_size > 1
            else None,
            # On a CPU, counting the labels of each batch is faster. On a GPU the host would wait for each count.
            max_labels=self.inputs.training_set.max_labels if workers.device.type == "cuda" else None,
        ).to(workers.device)
        self.total_steps = config.num_epochs * len(self.loader)
        optim = config.optim
        self.precision = choose_precision(workers.device, mixed=optim.mixed_precision)
        self.optimizer = build_optimizer(self.model, optim)
        self.schedule = one_cycle(self.optimizer, warmup_fraction=optim.warmup_fraction, total_steps=self.total_steps)
        self.balance = TermBalance(config.loss, self.model.head, workers, total_steps=self.total_steps)
        # Before the kernel terms begin, the kernels' layers have no gradient.
        all_used = loss.trains_all and config.loss.kernel_start == 0
        # Only the step has the wrapped model: the average and the checkpoints need the names of the bare one.
        self.step = TrainStep(
            data_parallel(self.model, workers, all_used=all_used),
            loss,
            self.optimizer,
            device=workers.device,
            precision=self.precision,
            gradient_clip_norm=optim.gradient_clip_norm,
            balance=self.balance,
        )
        self.gradients, self.dominance = TermGradients(self.model.head), DominanceWatch(config.loss)
        self.meter = UsageMeter(workers, loader_processes=self.inputs.processes > 0)
        self.scores: SplitScores | None = None
        self._trained = 0

    def begin_epoch(self, epoch: int, part: EpochPart | None = None) -> None:
        """Set the random state and the order of the images of an epoch, from 1, or of what is left of it."""
        # A resumed trial gets the numbers of an uninterrupted one. With the rank, dropout differs between workers.
        seed_everything(derive_seed(self.config.seed, "epoch", epoch, self.workers.rank))
        self.inputs.begin_epoch(epoch, part)
        if part is not None:
            set_random_state(part.workers[self.workers.rank]["random"], self.workers.device)
        self.model.train()

    def train_batch(
        self, images_B3HW: torch.Tensor, targets_BK: torch.Tensor, gradients: TermGradients | None = None
    ) -> LossParts:
        """Take one step of the optimizer, the schedule and the average; returns the terms of the loss."""
        parts = self.step(images_B3HW, targets_BK, gradients)
        # Also if the gradient scaler skipped the update because of an infinite gradient: the length is fixed.
        self.schedule.step()
        self.average.update_parameters(self.model)
        return parts

    def train_epoch(
        self, epoch: int, part: EpochPart | None = None, after_step: Callable[[int, LossWatch], None] | None = None
    ) -> dict[str, float]:
        """Train through the training split once.

        Args:
            epoch: from 1.
            part: the state from which the epoch continues, after `restore` of its checkpoint. None: it begins.
            after_step: called after each step but the last one, with the number of the step in the epoch, from 1.

        Returns:
            The means of the loss and its terms, the terms' shares of the last step's gradient, the kernel terms'
            weights at that step if they change, and the number of corrupt images that were skipped.

        Raises:
            Diverged: a term of the loss is not finite, or a weight is not finite after the epoch's last step.
        """
        self.begin_epoch(epoch, part)
        first, last = part.step + 1 if part else 1, len(self.loader)
        watch = LossWatch(self.workers, (epoch - 1) * last + 1, part.terms if part else None)
        for step, (images_B3HW, targets_BK) in enumerate(self.meter.waiting(self.loader), start=first):
            # The shares of the gradients cost a backward pass for each term, so only the last step has them.
            watch.add(self.train_batch(images_B3HW, targets_BK, self.gradients if step == last else None))
            self.meter.sample()
            if after_step is not None and step < last:
                after_step(step, watch)
        self._trained = (last - first + 1) * self.batch_size
        # Not `self.average`: its counter is on the CPU, and NCCL sends only tensors of GPUs.
        self.workers.broadcast_buffers(self.average.module)
        # Before the weights: if both are not finite, the loss names the earlier step. It waits for the device.
        means = watch.means()
        self.meter.training_ends(loss_seconds=(last - first + 1) * self.gradients.loss_seconds)
        # A loss shows the weights before its step. No loss follows the last step, so its weights are checked here.
        check_weights(self.average.module, self.workers, step=epoch * last)
        shares, weights = self.gradients.shares(self.workers), self.balance.metrics(self.step.factors)
        self.dominance.warn(shares, self.workers)
        return means | shares | weights | self.inputs.count_skipped()

    def usage(self) -> dict[str, float]:
        """The CPU time, memory and throughput of the epoch, or of its part since the last start."""
        return self.meter.usage(self._trained)

    def validate(self, epoch: int) -> dict[str, float]:
        """Evaluate the averaged weights on the whole validation split. The next checkpoint has the scores.

        Returns:
            The metrics on the first worker, nothing on the others.

        Raises:
            Diverged: a score is not finite.
        """
        started = time.monotonic()
        scores_NK, targets_NK = self.inputs.score_validation(self.average, self.precision)
        if not scores_NK.isfinite().all():
            raise Diverged(f"diverged at step {epoch * len(self.loader)}: not finite: scores of the validation split")
        if not self.workers.is_first:
            return {}
        self.scores = SplitScores(scores_NK.numpy(), targets_NK.numpy())
        metrics = split_metrics("val", scores_NK, targets_NK, self.config.plugins)
        logger.info("epoch %d: evaluated %d images in %.2f s", epoch, len(scores_NK), time.monotonic() - started)
        return metrics

    def save(self, folder: Path, reports: tuple[EpochReport, ...], part: EpochPart | None = None) -> Path:
        """Write the checkpoint of the last report's epoch, or of a part of the epoch after it."""
        return write_checkpoint(
            folder,
            TrialProgress(
                self.config, self.manifest.class_names, reports, self.inputs.backbone, self.inputs.own_features
            ),
            model=self.model,
            average=self.average.module,
            scores=None if part else self.scores,
            part=part,
            optimizer_state={
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "scaler": self.step.scaler.state_dict(),
                "num_averaged": int(self.average.n_averaged),
                "balance": self.balance.state_dict(),
            },
        )

    def restore(self, checkpoint: Path) -> tuple[EpochReport, ...]:
        """Load a checkpoint.

        Returns:
            The reports of its epochs.

        Raises:
            CheckpointError: the size of the training split has changed, and with it the number of steps; or the file
                of the user's own features was replaced.
        """
        progress = read_progress(checkpoint)
        check_same_features(checkpoint, progress.features, self.inputs.own_features)
        state = read_optimizer_state(checkpoint, self.workers.device)
        # The schedule's own number of steps, because `one_cycle` makes two of one.
        check_same_steps(checkpoint, state["schedule"]["total_steps"], self.schedule.total_steps)
        load_weights(checkpoint, model=self.model, average=self.average.module)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        # A device without float16 has written an empty state, and one with float16 then begins with its own scale.
        if state["scaler"]:
            self.step.scaler.load_state_dict(state["scaler"])
        # Not a part of `average.module`, and so of no file of weights. The decay of the average depends on it.
        self.average.n_averaged.fill_(state["num_averaged"])
        # A checkpoint of an older version has none; its trial has the configured weights at every step.
        if "balance" in state:
            self.balance.load_state_dict(state["balance"])
        self.dominance.restore(progress.reports)
        return progress.reports
