"""Readers of official dataset layouts and of a user's own tables."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.data.readers.rows import read_rows as read_rows
    from kmcl_platform.data.readers.table import read_table as read_table

__getattr__, __all__ = lazy_exports(__name__, __file__)
