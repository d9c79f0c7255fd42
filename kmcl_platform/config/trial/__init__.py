"""Parts of a trial's configuration."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.config.trial.data_config import (
        DataConfig as DataConfig,
    )
    from kmcl_platform.config.trial.model_config import (
        ModelConfig as ModelConfig,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
