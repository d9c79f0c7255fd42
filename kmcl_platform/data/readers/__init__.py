"""Readers of official dataset layouts and of a user's own tables."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.data.readers.registry import (
        READERS as READERS,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
