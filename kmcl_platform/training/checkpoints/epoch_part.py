"""EpochPart: what a checkpoint within an epoch holds beside the files of any checkpoint."""

from dataclasses import dataclass
from typing import Any, TypedDict

import torch

PART = "part.pt"
"""Its file: tensors and plain values only."""


class WorkerPart(TypedDict):
    """What differs between workers.

    Attributes:
        random: the state of its random generators (workers/random_state.py).
        skipped: the corrupt images that it skipped.
    """

    random: dict[str, Any]
    skipped: list[int]


@dataclass(frozen=True)
class EpochPart:
    """The state of an epoch after some of its steps.

    Attributes:
        step: the last step taken, from 1.
        terms: (step, terms of the loss): their means over all workers, for each step.
        seconds: how long the steps took, without those that were lost and taken again.
        workers: what differs between the workers, by rank.
    """

    step: int
    terms: torch.Tensor
    seconds: float
    workers: list[WorkerPart]

    def state(self) -> dict[str, Any]:
        """The fields, as `torch.save` writes them and `weights_only` reads them."""
        return vars(self)
