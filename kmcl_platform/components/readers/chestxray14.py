"""`chestxray14`: ChestX-ray14 in its official layout."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmcl_platform.components.readers.official import DrawnValidation
from kmcl_platform.plugins import register

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmcl_platform.data.manifest.manifest import Manifest


@register("chestxray14")
class ChestXray14(DrawnValidation):
    """Read ChestX-ray14 of the NIH in ROOT (Data_Entry_2017.csv, both lists, images); no patient is in two splits."""

    def read(self, root: Path, *, notes: list[Any], progress: "Callable[[str, int, int], None]") -> "Manifest":
        from kmcl_platform.data.readers.chestxray14 import read_chestxray14

        return read_chestxray14(root, notes=notes, progress=progress, **self.model_dump())
