"""Optimizer, learning-rate schedule and weight averaging: the released recipe."""

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel

_Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]

OPTIMIZERS: dict[str, type[torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Split parameters: weight decay for weights of two or more dimensions, none for biases and norm parameters."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def one_cycle(
    optimizer: torch.optim.Optimizer, *, peak_lr: float, warmup_fraction: float, total_steps: int
) -> OneCycleLR:
    """The one-cycle schedule: up to `peak_lr` during `warmup_fraction` of the steps, then down along a cosine."""
    return OneCycleLR(optimizer, max_lr=peak_lr, total_steps=total_steps, pct_start=warmup_fraction)


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a model's parameters; buffers are copied.

    The decay rises as (1 + n) / (10 + n) until it reaches `decay`: with a fixed 0.9997 a short training would
    evaluate its random initialisation. Decay 0 makes the average equal to the model.
    """

    @torch.no_grad()
    def update(averaged: _Tensors, current: _Tensors, num_averaged: torch.Tensor | int) -> None:
        steps = int(num_averaged)
        share = 1 - min(decay, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(averaged, current, share)

    return AveragedModel(model, multi_avg_fn=update)
