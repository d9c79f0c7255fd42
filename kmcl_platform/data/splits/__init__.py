"""Which image goes into which split: draws that keep every class's share, groups and identical pictures together."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.data.splits.draw import (
        Draw as Draw,
        draw_manifest as draw_manifest,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
