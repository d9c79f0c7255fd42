"""Checkpoints of a trial."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.training.checkpoints.checkpoint import (
        TrialProgress as TrialProgress,
        load_weights as load_weights,
        read_optimizer_state as read_optimizer_state,
        read_progress as read_progress,
        write_checkpoint as write_checkpoint,
    )
    from kmcl_platform.training.checkpoints.checkpoint_folder import (
        AVERAGE as AVERAGE,
        TRIAL as TRIAL,
        checkpoint_epoch as checkpoint_epoch,
        find_checkpoint as find_checkpoint,
        folder_bytes as folder_bytes,
        keep_average as keep_average,
    )
    from kmcl_platform.training.checkpoints.continuation import (
        check_can_continue as check_can_continue,
        check_same_features as check_same_features,
        check_same_steps as check_same_steps,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
