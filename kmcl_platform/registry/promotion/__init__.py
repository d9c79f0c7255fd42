"""Promotion: a candidate is compared with the champion on the sealed test split."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.registry.promotion.alias_moves import (
        read_history as read_history,
        rollback as rollback,
    )
    from kmcl_platform.registry.promotion.split_scores import (
        score_images as score_images,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
