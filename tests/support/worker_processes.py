"""Processes that start fast: they are forked from a server process that has imported torch and the platform once."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from typing import Any

PRELOADED = ("pytest", "torch.distributed", "kmcl_platform.training.fit", "kmcl_platform.data.builtin.datasets")


def fast_context(*modules: str) -> ForkServerContext:
    """The `multiprocessing` context of such processes. As with `spawn`, they share nothing with this process.

    Args:
        modules: are imported once by the server process, in addition to `PRELOADED`. A process of the `spawn` method
            imports them again, which takes seconds. Without effect if the server process has been started before.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, *modules])
    return context


def run_workers(function: Callable[..., None], num_workers: int, *arguments: Any) -> None:
    """Run `function(rank, *arguments)` in `num_workers` processes, and wait for them.

    Raises:
        ProcessRaisedException: of the first process that fails; the others are ended.
    """
    # Not at the top: the processes of tests without torch import this module too.
    import torch.multiprocessing

    fast_context(function.__module__)
    torch.multiprocessing.start_processes(function, arguments, num_workers, start_method="forkserver")
