"""The embedded dataset, and the way from a name in a search file to a manifest."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.data.builtin.datasets import (
        manifest_location as manifest_location,
        open_manifest as open_manifest,
    )
    from kmcl_platform.data.builtin.digits import (
        build_digits as build_digits,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
