"""The CPU time, memory and throughput of an epoch over all workers, under the names of MLflow's system metrics."""

import logging
import math
import statistics
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import TypeVar

import psutil
import torch

from kmcl_platform.config.reports.step_limit import GPU, LOSS, WAITING
from kmcl_platform.training.workers.distributed import Workers

T = TypeVar("T")

MEGABYTE = 1e6

SECONDS_BETWEEN_SAMPLES = 1.0
"""The driver's own figure is a mean over up to a second."""

_logger = logging.getLogger(__name__)


class UsageMeter:
    """Measures this process and its loader processes, from a call of `start` to the next call of `usage`."""

    def __init__(self, workers: Workers, *, loader_processes: bool = True) -> None:
        """
        Args:
            workers: this process's place in the group.
            loader_processes: whether there may be some. To look for them means to read about all processes of the
                machine, three times in an epoch, which takes longer than a step on features.
        """
        self._workers = workers
        self._loader_processes = loader_processes
        self._process = psutil.Process()
        # The package of NVIDIA's driver is optional.
        self._asks_driver = workers.device.type == "cuda" and find_spec("pynvml") is not None
        self.start()

    def start(self) -> None:
        """Begin to measure an epoch."""
        self._began = time.monotonic()
        self._cpu_seconds = self._spent()
        self._waited = 0.0
        self._shares = (math.nan, math.nan)
        self._busy: list[float] = []
        self._sampled = 0.0
        if self._workers.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._workers.device)

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, with the time that each one takes to come. `training_ends` ends the training."""
        iterator = iter(batches)
        while True:
            asked = time.monotonic()
            batch = next(iterator, None)
            self._waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def training_ends(self, *, loss_seconds: float) -> None:
        """Call it when the device has done all steps of the epoch.

        Args:
            loss_seconds: time of the loss in them. NaN: not known.
        """
        seconds = max(time.monotonic() - self._began, 1e-9)
        self._shares = (100 * self._waited / seconds, 100 * loss_seconds / seconds)

    def sample(self) -> None:
        """Ask how busy the GPU is. Call it at each step: it asks only once a second, and never waits for the GPU."""
        now = time.monotonic()
        if not self._asks_driver or now - self._sampled < SECONDS_BETWEEN_SAMPLES:
            return
        self._sampled = now
        import pynvml

        try:
            self._busy.append(float(torch.cuda.utilization(self._workers.device)))
        except pynvml.NVMLError as error:
            # A part of a GPU (MIG) has no such figure.
            self._asks_driver = False
            _logger.warning("the GPU's driver does not say how busy it is: %s", error)

    def usage(self, num_images: int) -> dict[str, float]:
        """The usage since `start`. All workers call this together.

        Args:
            num_images: number of images that this worker trained on.

        Returns:
            By metric name: CPU time divided by wall time, in percent of a core (mean over workers); resident memory in
            megabytes, with the loader processes (sum over workers); training images per second of the whole epoch (sum
            over workers); the shares of the training time that go to images and to the loss, if they were measured, in
            percent (means over workers); and on GPUs the peak memory of tensors in megabytes and, if the driver says
            so, the share of the time in which the GPU was busy, in percent (means over workers).
        """
        # A clock of coarse resolution can show no time at all.
        seconds = max(time.monotonic() - self._began, 1e-9)
        family = self._family()
        own = [
            # A child that ends while `_spent` reads is in neither of its sums, so the difference can be below 0.
            100 * max(0.0, self._spent() - self._cpu_seconds) / seconds,
            sum(_memory(member) for member in family) / MEGABYTE,
            num_images / seconds,
            *self._shares,
        ]
        on_gpu = self._workers.device.type == "cuda"
        if on_gpu:
            own.append(torch.cuda.max_memory_allocated(self._workers.device) / MEGABYTE)
            own.append(statistics.mean(self._busy) if self._busy else float("nan"))
        mean = self._workers.mean(torch.tensor(own, device=self._workers.device)).tolist()
        count = self._workers.world_size
        usage = {
            "system/cpu_utilization_percentage": mean[0],
            "system/memory_usage_megabytes": mean[1] * count,
            "system/images_per_second": mean[2] * count,
        }
        # NaN stays NaN in the mean over workers.
        usage |= {name: mean[3 + i] for i, name in enumerate((WAITING, LOSS)) if not math.isnan(mean[3 + i])}
        if on_gpu:
            usage["system/gpu_memory_usage_megabytes"] = mean[5]
            if not math.isnan(mean[6]):
                usage[GPU] = mean[6]
        return usage

    def _family(self) -> list[psutil.Process]:
        return [self._process, *self._children()]

    def _children(self) -> list[psutil.Process]:
        return self._process.children(recursive=True) if self._loader_processes else []

    def _spent(self) -> float:
        """CPU seconds of this process and of its loader processes, also of those that have ended."""
        # `children_*` are the children that have ended and were waited for.
        times = self._process.cpu_times()
        spent = times.user + times.system + times.children_user + times.children_system
        for child in self._children():
            try:
                own = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            spent += own.user + own.system
        return float(spent)


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
