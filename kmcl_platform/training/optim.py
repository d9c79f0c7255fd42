"""Optimizer, learning-rate schedule and weight averaging: the released recipe."""

import math

import torch
from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]  # timm exports it without saying so
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel

from kmcl_platform.config.trial_config import OptimConfig
from kmcl_platform.method.networks.model import KmclModel

OPTIMIZERS: dict[str, type[torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def build_optimizer(model: KmclModel, config: OptimConfig) -> torch.optim.Adam:
    """The optimizer of a network."""
    groups = parameter_groups(model, config)
    # `fused`: one kernel for all parameters. On CPUs the update takes half the time of a loop over tensors.
    return OPTIMIZERS[config.optimizer](groups, fused=True)


def parameter_groups(model: KmclModel, config: OptimConfig) -> list[dict[str, object]]:
    """The groups of parameters, each with its peak learning rate and weight decay.

    Parameters with two or more dimensions have weight decay; biases and norms have none. The head's kernel layers and
    the blocks of the backbone have groups of their own if their learning rate differs. If none differs, there are two
    groups, as in the checkpoints of older versions.

    Args:
        model: the network.
        config: its learning rate, the factors of it, and its weight decay.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    factors = {id(parameter): 1.0 for parameter in trained}
    factors |= {id(parameter): config.head_lr_factor for parameter in model.head.kernel_parameters()}
    factors |= _backbone_factors(model, config)
    groups: list[dict[str, object]] = []
    # The layers with the learning rate itself come first, then those with the largest factor.
    for factor in sorted(set(factors.values()), key=lambda factor: (factor != 1.0, -factor)):
        chosen = [parameter for parameter in trained if factors[id(parameter)] == factor]
        decayed, others = [p for p in chosen if p.ndim > 1], [p for p in chosen if p.ndim <= 1]
        for parameters, weight_decay in ((decayed, config.weight_decay), (others, 0.0)):
            if parameters or factor == 1.0:
                groups.append({"params": parameters, "lr": config.lr * factor, "weight_decay": weight_decay})
    return groups


def _backbone_factors(model: KmclModel, config: OptimConfig) -> dict[int, float]:
    """The factor of the learning rate of each parameter of the backbone, by its id; none if all of them are 1."""
    if model.backbone is None or config.backbone_lr_factor == config.layer_decay == 1.0:
        return {}
    # timm knows the blocks of its networks. The last one has the scale 1, the one before it layer_decay, and so on.
    blocks = param_groups_layer_decay(model.backbone.network, layer_decay=config.layer_decay)
    return {
        id(parameter): config.backbone_lr_factor * block["lr_scale"]
        for block in blocks
        for parameter in block["params"]
    }


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
