"""The running search: its driver, its trials on Ray or in this process."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.search.run.checks.files_check import (
        check_weights as check_weights,
    )
    from kmcl_platform.search.run.on_ray.worker_group import (
        WorkerGroup as WorkerGroup,
    )
    from kmcl_platform.search.run.run_search import (
        check_data as check_data,
        resume_search as resume_search,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
