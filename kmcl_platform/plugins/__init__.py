"""Components: parts of a trial that a search file chooses by name, the platform's own and those of users' plug-ins."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.plugins.augmentation import Augmentation as Augmentation
    from kmcl_platform.plugins.backbone import CustomBackbone as CustomBackbone
    from kmcl_platform.plugins.component import Component as Component
    from kmcl_platform.plugins.head import Head as Head
    from kmcl_platform.plugins.loss import Loss as Loss
    from kmcl_platform.plugins.metric import Metric as Metric
    from kmcl_platform.plugins.reader import Reader as Reader, Row as Row, RowReader as RowReader
    from kmcl_platform.plugins.registry import (
        find_component as find_component,
        list_components as list_components,
        register as register,
    )
    from kmcl_platform.plugins.sampler import Sampler as Sampler
    from kmcl_platform.plugins.scheduler import RungScheduler as RungScheduler, Scheduler as Scheduler
    from kmcl_platform.plugins.source import (
        PluginSource as PluginSource,
        find_plugin as find_plugin,
        load_plugin as load_plugin,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
