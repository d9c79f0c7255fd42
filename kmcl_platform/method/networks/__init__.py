"""Networks: a timm backbone, its pretrained weights, and the whole model (docs/method.md, Head)."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.method.networks.backbone import (
        Backbone as Backbone,
    )
    from kmcl_platform.method.networks.ensemble import (
        EnsembleModel as EnsembleModel,
    )
    from kmcl_platform.method.networks.logit_head import (
        LogitHead as LogitHead,
    )
    from kmcl_platform.method.networks.model import (
        KmclModel as KmclModel,
        ModelOutput as ModelOutput,
    )
    from kmcl_platform.method.networks.pretrained import (
        HubError as HubError,
        WeightsFileError as WeightsFileError,
        fetch_network as fetch_network,
        load_network as load_network,
        load_weights as load_weights,
    )
    from kmcl_platform.method.networks.timm_backbone import (
        ImageSizeError as ImageSizeError,
        timm_backbone as timm_backbone,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
