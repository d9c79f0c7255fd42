"""`manifest`: a manifest, read again."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmcl_platform.plugins import Reader, register

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmcl_platform.data.manifest.manifest import Manifest


@register("manifest")
class ManifestAgain(Reader):
    """Read the manifest in file ROOT again, to leave out copies of pictures; its splits stay as they are."""

    def read(self, root: Path, *, notes: list[Any], progress: "Callable[[str, int, int], None]") -> "Manifest":
        from kmcl_platform.data.readers.manifest_file import read_manifest_again

        return read_manifest_again(root, notes=notes, progress=progress, **self.model_dump())
