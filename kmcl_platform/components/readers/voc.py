"""`voc`: PASCAL VOC in its official layout."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kmcl_platform.components.readers.official import DrawnValidation
from kmcl_platform.plugins import register

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmcl_platform.data.manifest.manifest import Manifest


@register("voc")
class Voc(DrawnValidation):
    """Read PASCAL VOC in ROOT (VOCdevkit); a difficult label is unknown. 2012's val is the test split."""

    year: Literal["2007", "2012"]
    """Year of the challenge."""

    def read(self, root: Path, *, notes: list[Any], progress: "Callable[[str, int, int], None]") -> "Manifest":
        from kmcl_platform.data.readers.voc import read_voc

        return read_voc(root, notes=notes, progress=progress, **self.model_dump())
