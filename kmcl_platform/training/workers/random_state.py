"""The random generators that training uses."""

import random
from typing import Any

import numpy as np
import torch

RandomState = dict[str, Any]
"""The state of all generators of a process: tensors and plain values only."""


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's generators (all devices)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def read_random_state(device: torch.device) -> RandomState:
    """The state of the generators, with that of the device on which this process trains."""
    version, numbers, gauss = random.getstate()
    name, key, *others = np.random.get_state()
    state: RandomState = {
        "python": [version, list(numbers), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(key).astype(np.int64)), *others],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: RandomState, device: torch.device) -> None:
    """Continue the generators from a state. One that was read on a CPU leaves the generator of a GPU as it is."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, key, *others = state["numpy"]
    np.random.set_state((name, key.numpy().astype(np.uint32), *others))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
