"""One optimizer step, and the checks that its loss and its weights are finite."""

from contextlib import ExitStack

import torch
from torch import nn

from kmcl_platform.config.reports.epoch_report import TRAIN_LOSSES
from kmcl_platform.errors import Diverged
from kmcl_platform.method.losses import KmclLoss, LossParts, TermFactors
from kmcl_platform.training.device import Precision, to_device
from kmcl_platform.training.gradient_shares import TermGradients
from kmcl_platform.training.term_balance import TermBalance
from kmcl_platform.training.workers.distributed import Workers

CHECK_EVERY = 50
"""Steps between two checks of the loss. A check waits for the device and for all workers, which would slow down every
step."""


class TrainStep:
    """One optimizer step: forward pass, loss in float32, backward pass, gradient clipping, update.

    Attributes:
        factors: what the terms of the loss were multiplied by at the last step.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: KmclLoss,
        optimizer: torch.optim.Optimizer,
        *,
        device: torch.device,
        precision: Precision,
        gradient_clip_norm: float | None,
        balance: TermBalance | None = None,
    ) -> None:
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.device = device
        self.gradient_clip_norm = gradient_clip_norm
        self.balance = balance
        self.factors = TermFactors()
        self.precision = precision
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision.needs_scaling)

    def __call__(
        self, images_B3HW: torch.Tensor, targets_BK: torch.Tensor, gradients: TermGradients | None = None
    ) -> LossParts:
        """Update the model on one batch.

        Args:
            images_B3HW: uint8; features_BD for a model without a backbone.
            targets_BK: 1 positive, 0 negative, -1 unknown.
            gradients: measures the gradients of this step. None: not measured.

        Returns:
            The terms of the loss, detached, on the device.
        """
        images_B3HW = to_device(images_B3HW, self.device)
        targets_BK = targets_BK.to(self.device, non_blocking=True)
        balance = self.balance if self.balance and self.balance.is_due else None
        with ExitStack() as stack:
            stack.enter_context(self.precision.autocast())
            for watching in (gradients, balance.gradients if balance else None):
                if watching:
                    stack.enter_context(watching.watching())
            features_BD, mixture = self.model(images_B3HW)
        # Both measurements come before the step's own backward pass, which frees the graph. A disabled scaler has the
        # scale 1.
        if balance:
            scale = self.scaler.get_scale()
            balance.add(balance.gradients.squares(self.loss, targets_BK, scale=scale), scale=scale)
        if self.balance:
            self.factors = self.balance.factors()
            self.balance.advance()
        if gradients:
            gradients.measure(self.loss, targets_BK, self.factors, scale=self.scaler.get_scale())
        parts = self.loss(features_BD, mixture, targets_BK, self.factors)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(parts.total).backward()
        if self.gradient_clip_norm is not None:
            # The bound is for the true norm. `step` below sees that the gradients are unscaled already.
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.gradient_clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return LossParts(*(part.detach() for part in parts))


@torch.no_grad()
def check_weights(model: nn.Module, workers: Workers, *, step: int) -> None:
    """Check the weights and buffers of a model after a step.

    Args:
        model: the same on all workers.
        workers: all of them call this. If one of them finds such a weight, all raise.
        step: the last step taken, from 1.

    Raises:
        Diverged: a weight is infinite or NaN. The message names the first such tensor.
    """
    tensors = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    # One number for each tensor: the device is waited for only once.
    finite = workers.mean(torch.stack([tensor.isfinite().all() for tensor in tensors.values()]).float()).cpu() == 1
    # A mean of 1 means that all workers have 1: all of them see the same result, and raise together.
    if not finite.all():
        name = list(tensors)[int((~finite).nonzero()[0])]
        raise Diverged(f"diverged at step {step}: not finite: weights {name}")


class LossWatch:
    """Collects the terms of each step, and finds the first step at which a term is not finite on some worker."""

    def __init__(self, workers: Workers, first_step: int, terms: torch.Tensor | None = None) -> None:
        """
        Args:
            workers: this process's place in the group.
            first_step: the number of the epoch's first step in the trial, from 1.
            terms: what `terms` returned, if some steps of the epoch were taken before. None: it begins.
        """
        self._workers = workers
        self._first_step = first_step
        self._pending: list[torch.Tensor] = []
        self._checked: list[torch.Tensor] = [] if terms is None else [terms]

    def add(self, parts: LossParts) -> None:
        """Add the terms of the next step.

        Raises:
            Diverged: a term was not finite in one of the last `CHECK_EVERY` steps.
        """
        self._pending.append(torch.stack([part.float() for part in parts]))
        if len(self._pending) >= CHECK_EVERY:
            self._check()

    def means(self) -> dict[str, float]:
        """Mean of each term over all steps and workers, under its metric name.

        Raises:
            Diverged: a term was not finite.
        """
        mean = self.terms().mean(dim=0)
        return dict(zip(TRAIN_LOSSES, mean.tolist(), strict=True))

    def terms(self) -> torch.Tensor:
        """The mean over all workers of each term, for each step so far, on the CPU.

        Raises:
            Diverged: a term was not finite.
        """
        self._check()
        return torch.cat(self._checked)

    def _check(self) -> None:
        if not self._pending:
            return
        # All workers are here after the same step, as an all-reduce requires. NaN or infinity of one worker makes the
        # mean NaN or infinite on all of them.
        terms = self._workers.mean(torch.stack(self._pending)).cpu()
        self._pending = []
        finite = terms.isfinite()
        if not finite.all():
            row = int((~finite.all(dim=1)).nonzero()[0])
            step = self._first_step + sum(len(part) for part in self._checked) + row
            names = [name for name, good in zip(TRAIN_LOSSES, finite[row].tolist(), strict=True) if not good]
            raise Diverged(f"diverged at step {step}: not finite: {', '.join(names)}")
        self._checked.append(terms)
