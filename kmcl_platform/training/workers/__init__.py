"""The processes that train one trial together."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.training.workers.batch_norm import (
        synchronise_batch_norm as synchronise_batch_norm,
    )
    from kmcl_platform.training.workers.distributed import (
        Workers as Workers,
        join_workers as join_workers,
    )
    from kmcl_platform.training.workers.memory import (
        is_out_of_memory as is_out_of_memory,
        peak_memory as peak_memory,
        reset_peak_memory as reset_peak_memory,
    )
    from kmcl_platform.training.workers.resource_usage import (
        UsageMeter as UsageMeter,
    )
    from kmcl_platform.training.workers.worker_log import (
        start_worker_log as start_worker_log,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
