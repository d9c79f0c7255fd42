"""What the terms of the loss are multiplied by at each step: the late start of the kernel terms, and their balance.

See docs/method.md, Scale of the kernel terms.
"""

from typing import Any

import torch

from kmcl_platform.config.loss_config import LossConfig
from kmcl_platform.config.reports.epoch_report import TERM_WEIGHTS
from kmcl_platform.method.kernels.mixture_head import KernelMixtureHead
from kmcl_platform.method.losses import TermFactors
from kmcl_platform.method.networks.logit_head import LogitHead
from kmcl_platform.training.gradient_shares import TermGradients
from kmcl_platform.training.workers.distributed import Workers

MEASURE_EVERY = 16
"""Steps between two measurements of the gradient norms. A measurement computes the loss again, and a backward pass
through the head for each term. With a small network this takes 12 % of the CPU time of a step, and 38 % with
anisotropic kernels (docs/method.md): 0.8 % and 2.4 % on average."""

SMOOTHING = 0.7
"""Part of the former average in the moving average of the norms: it covers about three measurements, 50 steps."""

LARGEST_FACTOR = 1e3
"""Bound of a factor. Without it, a term whose gradient has nearly vanished would be enlarged without limit."""


class TermBalance:
    """Yields the factors of each step of a trial, the same on all workers.

    With `loss.balance: gradient_shares` the norm of each term's gradient at the head's input is measured at every n-th
    step, over the samples of all workers, and smoothed. With the norms N and the shares s, the factor of kernel term i
    is s_i / (1 - Σ s) · N_classification / N_i. Its share of the sum of all norms is then s_i. GradNorm (Chen et al.,
    2018, arXiv 1711.02257) learns such factors by gradient descent; here they follow from the norms.

    Attributes:
        gradients: measures the norms.
    """

    def __init__(
        self, config: LossConfig, head: KernelMixtureHead | LogitHead, workers: Workers, *, total_steps: int
    ) -> None:
        """Begin before the first step.

        Args:
            config: the loss of the trial.
            head: of the network that is trained.
            workers: this process's place in the group.
            total_steps: number of steps of the whole trial.
        """
        self.gradients = TermGradients(head)
        self._workers = workers
        self._start = round(config.kernel_start * total_steps) if config.uses_kernels else 0
        self._balanced = config.uses_kernels and config.balance == "gradient_shares"
        self._weights = config.kernel_weights
        shares = (config.reconstruction_share, config.contrastive_share)
        ratios = [1.0, *(share / (1.0 - sum(shares)) for share in shares)]
        self._ratios_3 = torch.tensor(ratios, device=workers.device)
        self._step = 0
        self._next_measurement = self._start
        # 0: not known yet.
        self._norms_3 = torch.zeros(3, device=workers.device)
        self._each_3 = self._to_factors() if self._balanced else None

    @property
    def is_due(self) -> bool:
        """Whether the norms are measured at this step."""
        return self._balanced and self._step >= self._next_measurement

    @torch.no_grad()
    def add(self, squares_3: torch.Tensor, *, scale: float = 1.0) -> None:
        """Add a measurement. All workers call this at the same steps.

        Args:
            squares_3: what `TermGradients.squares` returned on this worker, for terms without factors.
            scale: the factor of the terms in it.
        """
        # A worker's terms are W times its samples' part of the global loss. So the squares of all workers sum to W²
        # times those of one worker with all samples, and their mean is W times too large.
        norms_3 = (self._workers.mean(squares_3) / self._workers.world_size).sqrt() / scale
        # 0: the batch has no pair of samples, or a term is left out. Infinite: an overflow of float16. Neither says
        # anything about the next steps.
        known_3 = norms_3.isfinite() & (norms_3 > 0)
        smoothed_3 = torch.where(self._norms_3 > 0, torch.lerp(norms_3, self._norms_3, SMOOTHING), norms_3)
        self._norms_3 = torch.where(known_3, smoothed_3, self._norms_3)
        self._each_3 = self._to_factors()
        self._next_measurement = self._step + MEASURE_EVERY

    def factors(self) -> TermFactors:
        """The factors of this step."""
        kernels = 1.0
        if self._start:
            kernels = min(1.0, max(0, self._step - self._start + 1) / self._start)
        return TermFactors(kernels, self._each_3)

    def advance(self) -> None:
        """Go to the next step."""
        self._step += 1

    def end_start(self) -> None:
        """Go to the first step at which the kernel terms have their full weight, if it is still to come."""
        self._step = max(self._step, 2 * self._start)

    def _to_factors(self) -> torch.Tensor:
        each_3 = (self._ratios_3 * self._norms_3[0] / self._norms_3).clamp(max=LARGEST_FACTOR)
        # A term whose norm is not known is left out until it is. The classification keeps its weight.
        each_3 = torch.where(self._norms_3 > 0, each_3, 0.0)
        each_3[0] = 1.0
        return each_3

    def metrics(self, factors: TermFactors) -> dict[str, float]:
        """What each kernel term is multiplied by, under its metric's name. Empty: the configured weights, always."""
        if not self._start and not self._balanced:
            return {}
        each = [1.0] * 3 if factors.each_3 is None else factors.each_3.tolist()
        weights = zip(TERM_WEIGHTS, self._weights, each[1:], strict=True)
        return {name: weight * factors.kernels * factor for name, weight, factor in weights if weight > 0}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed trial needs."""
        return {"step": self._step, "next_measurement": self._next_measurement, "norms": self._norms_3}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self._step = int(state["step"])
        self._next_measurement = int(state["next_measurement"])
        self._norms_3 = state["norms"].to(self._workers.device)
        self._each_3 = self._to_factors() if self._balanced else None
