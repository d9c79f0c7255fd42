"""Trials on Ray: Tune, the worker group of a trial, and the mailbox between them."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.search.run.on_ray.ray_runner import (
        RayRunner as RayRunner,
    )
    from kmcl_platform.search.run.on_ray.worker_group import (
        WorkerGroup as WorkerGroup,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
