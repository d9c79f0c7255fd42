"""The training of one trial."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.training.build import (
        build_backbone as build_backbone,
        build_dataset as build_dataset,
        build_loss as build_loss,
        build_model as build_model,
    )
    from kmcl_platform.training.checkpoints.checkpoint import (
        TrialProgress as TrialProgress,
        read_progress as read_progress,
    )
    from kmcl_platform.training.checkpoints.checkpoint_folder import (
        AVERAGE as AVERAGE,
        TRIAL as TRIAL,
        find_checkpoint as find_checkpoint,
        folder_bytes as folder_bytes,
        keep_average as keep_average,
    )
    from kmcl_platform.training.evaluate import (
        SplitScorer as SplitScorer,
        split_metrics as split_metrics,
    )
    from kmcl_platform.training.step import (
        TrainStep as TrainStep,
    )
    from kmcl_platform.training.workers.distributed import (
        Workers as Workers,
        join_workers as join_workers,
    )
    from kmcl_platform.training.workers.memory import (
        is_out_of_memory as is_out_of_memory,
    )
    from kmcl_platform.training.workers.worker_log import (
        start_worker_log as start_worker_log,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
