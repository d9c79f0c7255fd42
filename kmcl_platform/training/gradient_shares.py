"""How much each term of the loss changes the features: the terms' shares of the gradient norms.

The weight of a term says little about its effect: the gradients of the terms differ by orders of magnitude, and change
during training.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from kmcl_platform.config.reports.epoch_report import GRADIENT_SHARES
from kmcl_platform.method.losses.kmcl import KmclLoss
from kmcl_platform.training.workers.distributed import Workers


class TermGradients:
    """The norm of each weighted term's gradient with respect to the features, which all terms share, at one step.

    ||∂(λ_i·L_i)/∂f||, as in Chen et al., "GradNorm", 2018, but at the features rather than at the weights before them:
    everything that a term changes in the backbone passes through f, and no gradient of a parameter is changed.
    """

    def __init__(self, head: nn.Module) -> None:
        """Watch the model whose head this is."""
        self._head = head
        self._seen: tuple[torch.Tensor, Any] | None = None
        self._squares: torch.Tensor | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep what goes into the head and comes out of it, within a forward pass.

        Not the model's own output: data parallelism may hand out copies, from which no way leads back to f.
        """
        hook = self._head.register_forward_hook(self._keep)
        try:
            yield
        finally:
            hook.remove()

    def _keep(self, _: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._seen = (inputs[0], output)

    def measure(self, loss: KmclLoss, targets_BK: torch.Tensor, *, scale: float = 1.0) -> None:
        """Differentiate each term; the graph is left for the step's own backward pass.

        Args:
            loss: the objective.
            targets_BK: of the batch.
            scale: of float16 gradients, which would vanish without it; shares do not depend on it.
        """
        assert self._seen is not None, "no forward pass was watched"
        features_BD, mixture = self._seen
        squares = []
        for term in loss.weighted_terms(features_BD, mixture, targets_BK):
            if term is None:
                squares.append(torch.zeros((), device=features_BD.device))
                continue
            (gradient_BD,) = torch.autograd.grad(term * scale, features_BD, retain_graph=True)
            squares.append(gradient_BD.float().square().sum())
        self._squares = torch.stack(squares)
        self._seen = None

    def shares(self, workers: Workers) -> dict[str, float]:
        """Each term's share of the norms' sum, over the samples of all workers; empty where nothing was measured."""
        if self._squares is None:
            return {}
        norms = workers.mean(self._squares).sqrt()
        total = float(norms.sum())
        if not 0 < total < float("inf"):
            return {}
        return {name: value / total for name, value in zip(GRADIENT_SHARES, norms.tolist(), strict=True) if value > 0}
