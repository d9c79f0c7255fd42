"""The terms' shares of the gradient norms: how much each term of the loss changes the features.

The weights of the terms do not show this: the gradients of the terms differ by orders of magnitude, and they change
during training.
"""

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from kmcl_platform.config.loss_config import LossConfig
from kmcl_platform.config.reports.epoch_report import GRADIENT_SHARES, EpochReport
from kmcl_platform.method.kernels.mixture_head import KernelMixtureHead
from kmcl_platform.method.losses.kmcl import KmclLoss
from kmcl_platform.method.losses.loss_parts import NO_FACTORS, TermFactors
from kmcl_platform.method.networks.logit_head import LogitHead
from kmcl_platform.training.workers.distributed import Workers

logger = logging.getLogger(__name__)


def _differentiable(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[torch.Tensor]:
    # The features of a frozen backbone are data, of which autograd keeps no graph.
    (features_BD,) = inputs
    return (features_BD if features_BD.requires_grad else features_BD.detach().requires_grad_(),)


class TermGradients:
    """Measures the gradient norm of each weighted term with respect to the features, at one step.

    The norm of term i is ||∂(λ_i·L_i)/∂f||. Chen et al., "GradNorm", 2018 (arXiv 1711.02257) take the gradient with
    respect to the last shared weights. The features f are used here: each term changes the backbone only through f, and
    the gradients of the parameters stay as they are.
    """

    def __init__(self, head: KernelMixtureHead | LogitHead) -> None:
        """Measure at the inputs of a head."""
        self._head = head
        self._seen: tuple[torch.Tensor, Any] | None = None
        self._squares: torch.Tensor | None = None
        self._seconds = math.nan

    @property
    def loss_seconds(self) -> float:
        """Wall time of the loss and its gradient to the features in the last `measure`. NaN: there was none."""
        return self._seconds

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Remember the head's input and output in a forward pass inside the block.

        The model's own output cannot be used: data parallelism may return copies, whose graph does not contain f.
        """
        hooks = self._head.register_forward_pre_hook(_differentiable), self._head.register_forward_hook(self._keep)
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _keep(self, _: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._seen = (inputs[0], output)

    def squares(
        self, loss: KmclLoss, targets_BK: torch.Tensor, factors: TermFactors = NO_FACTORS, *, scale: float = 1.0
    ) -> torch.Tensor:
        """Differentiate each term after a forward pass that was watched. The graph stays for the step's backward pass.

        Args:
            loss: the objective.
            targets_BK: the targets of the batch.
            factors: of this step.
            scale: factor of the terms. Without it, float16 gradients would become 0.

        Returns:
            (3,): the squared norm of each term on this worker's samples, times scale². 0 for a term that is left out.
        """
        assert self._seen is not None, "no forward pass was watched"
        features_BD, mixture = self._seen
        squares = []
        # The loss gets what the model would give it. The gradient is with respect to the head's input, which all terms
        # share: the logits need the raw features, the kernels may need normalised ones.
        kernel_BD = self._head.kernel_features(features_BD)
        for term in loss.weighted_terms(kernel_BD, mixture, targets_BK, factors):
            if term is None:
                squares.append(torch.zeros((), device=features_BD.device))
                continue
            # With respect to the features only: `backward` would write into the parameters' gradients.
            (gradient_BD,) = torch.autograd.grad(term * scale, features_BD, retain_graph=True)
            squares.append(gradient_BD.float().square().sum())
        self._seen = None
        return torch.stack(squares)

    def measure(
        self, loss: KmclLoss, targets_BK: torch.Tensor, factors: TermFactors = NO_FACTORS, *, scale: float = 1.0
    ) -> None:
        """Measure `squares` for the next call of `shares`, which do not depend on the scale, and `loss_seconds`.

        The host waits for the device, before and after.
        """
        started = _now(targets_BK.device)
        self._squares = self.squares(loss, targets_BK, factors, scale=scale)
        self._seconds = _now(targets_BK.device) - started

    def shares(self, workers: Workers) -> dict[str, float]:
        """Each term's share, in [0, 1], of the sum of all norms. It covers the samples of all workers.

        Empty if nothing was measured, or if the sum is 0 or not finite. A term that is left out has none.
        """
        if self._squares is None:
            return {}
        # Workers have different samples, so their squares add up. A mean is that sum divided by W, which cancels in the
        # shares.
        norms = workers.mean(self._squares).sqrt()
        total = float(norms.sum())
        if not 0 < total < float("inf"):
            return {}
        return {name: value / total for name, value in zip(GRADIENT_SHARES, norms.tolist(), strict=True) if value > 0}


def _now(device: torch.device) -> float:
    """The time at which the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()


class DominanceWatch:
    """Finds the first epoch of a trial in which the gradient of a kernel term is far above the classification's.

    In such a trial the kernel terms decide what the backbone learns. On photographs its scores fell far below those of
    the classification loss alone (docs/method.md, Scale of the kernel terms).
    """

    LIMIT = 10.0
    """A kernel term's share may be so many times that of the classification."""

    def __init__(self, config: LossConfig) -> None:
        """Watch a trial with this loss."""
        self._config = config
        self._found = False

    def warn(self, metrics: Mapping[str, float], workers: Workers) -> None:
        """Write what `look` finds into the log, on the first worker. All workers have the same metrics."""
        line = self.look(metrics)
        if line and workers.is_first:
            logger.warning("%s", line)

    def restore(self, reports: Sequence[EpochReport]) -> None:
        """Look at the reports of a trial that continues: the line of an earlier epoch is not repeated."""
        for report in reports:
            self.look(report.metrics)

    def look(self, metrics: Mapping[str, float]) -> str | None:
        """A line with the value and the remedies, at the first time that there is such a term; else None.

        Args:
            metrics: of an epoch, with the terms' shares of the gradient.
        """
        classification, *kernel_terms = (metrics.get(name, 0.0) for name in GRADIENT_SHARES)
        largest = max(kernel_terms)
        # A classification without a gradient has no weight: then nothing is to be compared.
        if self._found or classification == 0 or largest <= self.LIMIT * classification:
            return None
        self._found = True
        name = GRADIENT_SHARES[1 + kernel_terms.index(largest)]
        return (
            f"{name}: got {largest:.3g}, {largest / classification:.3g} times that of the classification; valid: at "
            f"most {self.LIMIT:g} times, with {self._remedies(name.rpartition('/')[2])}"
        )

    def _remedies(self, term: str) -> str:
        config = self._config
        if config.balance == "gradient_shares":
            return f"a smaller loss.{term}_share"
        remedies = [f"a smaller loss.{term}_weight"]
        # The formulation `released` has neither of the other two.
        if config.formulation == "corrected":
            if config.kernel_scale == "total":
                remedies.insert(0, "loss.kernel_scale: per_feature")
            remedies.append("loss.balance: gradient_shares")
        return ", ".join(remedies[:-1]) + (", or " if remedies[:-1] else "") + remedies[-1]
