"""What a model costs to use, measured before it trains: latency, parameters, operations.

Neither depends on the weights. The measured network is that of the registered model: with its backbone, also where a
trial trains on the backbone's features.
"""

import time
from collections.abc import Collection, Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode

from kmcl_platform.config.reports.costs import COSTS, FLOPS, LATENCY, PARAMETERS
from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.loading.own_features import read_own_features
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.errors import TooCostly
from kmcl_platform.method.networks.model import KmclModel
from kmcl_platform.training.build import build_model
from kmcl_platform.training.workers.distributed import Workers

_PASSES = 20
_WARM_UP = 3
"""Passes before the timed ones: the first passes also allocate memory and choose algorithms."""


def measure_costs(
    config: TrialConfig,
    manifest: Manifest,
    workers: Workers,
    costs: Collection[str],
    limits: Mapping[str, float],
    *,
    on_cpu: bool,
) -> dict[str, float]:
    """Some of `COSTS` of a trial's model; every worker calls this.

    Args:
        config: the trial.
        manifest: the data, for the number of classes and the user's own features.
        workers: this process's place in the group. Afterwards torch's random state is another.
        costs: the wanted ones; none: nothing is measured.
        limits: the largest value of some of them.
        on_cpu: whether the latency is that on the CPU. False: on the worker's device.

    Raises:
        TooCostly: a value is above its limit; on every worker.
    """
    if not costs:
        return {}
    found = workers.on_first(
        lambda: _measure(config, manifest, costs, torch.device("cpu") if on_cpu else workers.device)
    )
    if any(found[name] > most for name, most in limits.items()):
        raise TooCostly(found)
    return found


def _measure(config: TrialConfig, manifest: Manifest, costs: Collection[str], device: torch.device) -> dict[str, float]:
    own = config.data.features
    width = None if own is None else int(read_own_features(own, manifest).shape[1])
    model = build_model(config, len(manifest.class_names), pretrained=False, num_features=width)
    model = model.to(device).to(memory_format=torch.channels_last).eval()
    size = config.data.image_size
    # What a server has after decoding: pixels of one image, or the features of one row.
    one = torch.zeros((1, 3, size, size), dtype=torch.uint8) if width is None else torch.zeros((1, width))
    found = {PARAMETERS: sum(weight.numel() for weight in model.parameters()) / 1e6}
    if FLOPS in costs:
        found[FLOPS] = _count_operations(model, one.to(device)) / 1e9
    if LATENCY in costs:
        found[LATENCY] = _time(model, one, device)
    return {name: found[name] for name in costs}


def known_costs(report: EpochReport) -> dict[str, float]:
    """The costs in a report."""
    return {name: report.metrics[name] for name in COSTS if name in report.metrics}


@torch.no_grad()
def _count_operations(model: KmclModel, one: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        model(one)
    return int(counter.get_total_flops())


@torch.no_grad()
def _time(model: KmclModel, one: torch.Tensor, device: torch.device) -> float:
    """Milliseconds from an image on the CPU to its scores there. The least: other trials disturb that one least."""
    taken = []
    for _ in range(_WARM_UP + _PASSES):
        started = time.perf_counter()
        model(one.to(device)).mixture.logits_BK.cpu()
        taken.append(1000 * (time.perf_counter() - started))
    return min(taken[_WARM_UP:])
