"""`adp`: the Atlas of Digital Pathology in its official layout."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kmcl_platform.components.readers.official import AllNegative
from kmcl_platform.plugins import Reader, register

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmcl_platform.data.manifest.manifest import Manifest


@register("adp")
class Adp(Reader):
    """Read the Atlas of Digital Pathology in ROOT (ADP V1.0 Release), at one level of its hierarchy."""

    level: Literal["L1", "L2", "L3", "L3Only"]
    """Level of the hierarchy."""
    all_negative: AllNegative = "keep"
    """Images without any label: keep them, negative for every class, or drop them."""

    def read(self, root: Path, *, notes: list[Any], progress: "Callable[[str, int, int], None]") -> "Manifest":
        from kmcl_platform.data.readers.adp import read_adp

        return read_adp(root, notes=notes, progress=progress, **self.model_dump())
