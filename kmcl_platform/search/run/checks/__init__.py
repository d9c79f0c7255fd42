"""What is tried before a search starts: the components of plug-ins, and whether the networks fit their images."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.search.run.checks.component_check import (
        check_components as check_components,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
