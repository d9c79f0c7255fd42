"""A manifest's images as Parquet shards."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.data.pack.write_shards import (
        MANIFEST_NAME as MANIFEST_NAME,
        pack as pack,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
