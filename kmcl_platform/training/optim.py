"""Optimizer, learning-rate schedule and weight averaging: the released recipe."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel

from kmcl_platform.config.trial_config import OptimConfig
from kmcl_platform.method.networks.model import KmclModel

OPTIMIZERS: dict[str, type[torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def build_optimizer(model: KmclModel, config: OptimConfig) -> torch.optim.Adam:
    """The optimizer of a network."""
    groups = parameter_groups(
        model, weight_decay=config.weight_decay, lr=config.lr, head_lr_factor=config.head_lr_factor
    )
    # `fused`: one kernel for all parameters. On CPUs the update takes half the time of a loop over tensors.
    return OPTIMIZERS[config.optimizer](groups, fused=True)


def parameter_groups(
    model: KmclModel, *, weight_decay: float, lr: float, head_lr_factor: float = 1.0
) -> list[dict[str, object]]:
    """The groups of parameters, each with its peak learning rate and weight decay.

    Parameters with two or more dimensions have weight decay; biases and norms have none. The head's kernel layers have
    groups of their own if their learning rate differs. With the factor 1 there are two groups, as in the checkpoints of
    older versions.

    Args:
        model: the network.
        weight_decay: of parameters that have one.
        lr: peak learning rate.
        head_lr_factor: multiplies it for the head's mean, variance and component layers.
    """
    kernel_layers = {id(p) for p in model.head.kernel_parameters()} if head_lr_factor != 1.0 else set()
    groups: list[dict[str, object]] = []
    for of_kernels, rate in ((False, lr), (True, lr * head_lr_factor)):
        chosen = [p for p in model.parameters() if p.requires_grad and (id(p) in kernel_layers) == of_kernels]
        if chosen:
            decayed, others = [p for p in chosen if p.ndim > 1], [p for p in chosen if p.ndim <= 1]
            groups.append({"params": decayed, "lr": rate, "weight_decay": weight_decay})
            groups.append({"params": others, "lr": rate, "weight_decay": 0.0})
    return groups


def one_cycle(optimizer: torch.optim.Optimizer, *, warmup_fraction: float, total_steps: int) -> OneCycleLR:
    """The one-cycle schedule of Smith and Topin, 2017 (arXiv 1708.07120), with one maximum.

    The learning rate of each group, its peak, is that of the optimizer before this call. It rises from peak/25 to the
    peak until step `warmup_fraction`·`total_steps`, counted from 1, then falls along a cosine to peak/250,000 at the
    last step. Adam's β1 goes from 0.95 to 0.85 and back. If the warm-up ends with the first step or before it, that
    step is taken at the peak or a little after it.
    """
    if total_steps == 1:
        # By the formula the only step is the last one, whose rate changes nothing. It is taken at the peak instead.
        total_steps, warmup_fraction = 2, 0.5
    while warmup_fraction * total_steps == 1:
        # A warm-up from step 1 to step 1 has no length, and torch divides by it. A fraction that is smaller by one bit
        # gives the limit: the first step is taken at the peak.
        warmup_fraction = math.nextafter(warmup_fraction, 0)
    # The factors 25 and 250,000 (25 · 10,000) and the cycle of β1 are torch's defaults.
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, max_lr=peaks, total_steps=total_steps, pct_start=warmup_fraction)


class MovingAverage(AveragedModel):
    """An exponential moving average of a model's parameters; buffers are copied.

    The decay rises as (1 + n) / (10 + n) until it reaches `decay`: with a fixed 0.9997 a short training would
    evaluate its random initialisation. Decay 0 makes the average equal to the model.

    It computes what `AveragedModel` computes, which collects the parameters of both models again for each step. For a
    small network that takes longer than the average.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """
        Args:
            model: on its device. Its parameters and buffers are the same tensors at every update.
            decay: of the average, in [0, 1).
        """
        super().__init__(model)
        self._decay = decay
        self._averaged: list[torch.Tensor] = list(self.module.parameters())
        self._current: list[torch.Tensor] = list(model.parameters())
        self._own_buffers, self._current_buffers = list(self.module.buffers()), list(model.buffers())

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Add the model's parameters as they are now; the model is the one of `__init__`."""
        # The formula of TensorFlow's ExponentialMovingAverage. The first update copies the model.
        steps = int(self.n_averaged)
        if steps:
            share = 1 - min(self._decay, (1 + steps) / (10 + steps))
            torch._foreach_lerp_(self._averaged, self._current, share)
        else:
            torch._foreach_copy_(self._averaged, self._current)
        if self._own_buffers:
            torch._foreach_copy_(self._own_buffers, self._current_buffers)
        self.n_averaged += 1
