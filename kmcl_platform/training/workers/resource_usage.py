"""The CPU time, memory and throughput of an epoch over all workers, under the names of MLflow's system metrics."""

import time

import psutil
import torch

from kmcl_platform.training.workers.distributed import Workers

MEGABYTE = 1e6


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
        self.start()

    def start(self) -> None:
        """Begin to measure an epoch."""
        self._began = time.monotonic()
        self._cpu_seconds = self._spent()
        if self._workers.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._workers.device)

    def usage(self, num_images: int) -> dict[str, float]:
        """The usage since `start`. All workers call this together.

        Args:
            num_images: number of images that this worker trained on.

        Returns:
            By metric name: CPU time divided by wall time, in percent of a core (mean over workers); resident memory in
            megabytes, with the loader processes (sum over workers); training images per second of the whole epoch (sum
            over workers); and on GPUs the peak memory of tensors in megabytes (mean over workers).
        """
        # A clock of coarse resolution can show no time at all.
        seconds = max(time.monotonic() - self._began, 1e-9)
        family = self._family()
        own = [
            # A child that ends while `_spent` reads is in neither of its sums, so the difference can be below 0.
            100 * max(0.0, self._spent() - self._cpu_seconds) / seconds,
            sum(_memory(member) for member in family) / MEGABYTE,
            num_images / seconds,
        ]
        on_gpu = self._workers.device.type == "cuda"
        if on_gpu:
            own.append(torch.cuda.max_memory_allocated(self._workers.device) / MEGABYTE)
        mean = self._workers.mean(torch.tensor(own, device=self._workers.device)).tolist()
        count = self._workers.world_size
        usage = {
            "system/cpu_utilization_percentage": mean[0],
            "system/memory_usage_megabytes": mean[1] * count,
            "system/images_per_second": mean[2] * count,
        }
        return usage | ({"system/gpu_memory_usage_megabytes": mean[3]} if on_gpu else {})

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
