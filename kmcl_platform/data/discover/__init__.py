"""What a folder or a file of pictures is, and how it becomes a manifest."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.data.discover.dataset import (
        FoundDataset as FoundDataset,
        find_dataset as find_dataset,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
