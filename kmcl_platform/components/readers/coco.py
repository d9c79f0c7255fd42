"""`coco`: MS-COCO in its official layout."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kmcl_platform.components.readers.official import AllNegative, DrawnValidation
from kmcl_platform.plugins import register

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmcl_platform.data.manifest.manifest import Manifest


@register("coco")
class Coco(DrawnValidation):
    """Read MS-COCO in ROOT (annotations/, train2017/ …); its val is the test split."""

    year: Literal["2014", "2017"]
    """Year of the splits."""
    all_negative: AllNegative = "keep"
    """Images without any label: keep them, negative for every class, or drop them."""
    crowds: Literal["positive", "unknown"] = "positive"
    """Label of a class that only crowd regions of an image show."""

    def read(self, root: Path, *, notes: list[Any], progress: "Callable[[str, int, int], None]") -> "Manifest":
        from kmcl_platform.data.readers.coco import read_coco

        return read_coco(root, notes=notes, progress=progress, **self.model_dump())
