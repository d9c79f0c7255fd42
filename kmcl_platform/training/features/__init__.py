"""Frozen backbones: their weights and their features, which all trials of a store share."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.training.features.backbone_weights import (
        join_backbone as join_backbone,
        load_backbone as load_backbone,
        store_backbone as store_backbone,
    )
    from kmcl_platform.training.features.cache import (
        open_features as open_features,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
