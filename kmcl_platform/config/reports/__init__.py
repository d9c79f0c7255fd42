"""The report of a trial after each epoch, and the measurement of a probe."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.config.reports.epoch_report import (
        GRADIENT_SHARES as GRADIENT_SHARES,
        SKIPPED_IMAGES as SKIPPED_IMAGES,
        TRAIN_LOSSES as TRAIN_LOSSES,
        EpochReport as EpochReport,
        objective_names as objective_names,
    )
    from kmcl_platform.config.reports.measurement import (
        Level as Level,
        Measurement as Measurement,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
