"""The readers, by the names that `kmcl data import` uses."""

from collections.abc import Callable

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.readers.adp import read_adp
from kmcl_platform.data.readers.chestxray14 import read_chestxray14
from kmcl_platform.data.readers.coco import read_coco
from kmcl_platform.data.readers.manifest_file import read_manifest_again
from kmcl_platform.data.readers.table import read_table
from kmcl_platform.data.readers.voc import read_voc

READERS: dict[str, Callable[..., Manifest]] = {
    "voc": read_voc,
    "coco": read_coco,
    "adp": read_adp,
    "chestxray14": read_chestxray14,
    "table": read_table,
    "manifest": read_manifest_again,
}
"""Each takes the folder of the official layout, or the file of `table` and `manifest`, and copies no image.

All have the options `duplicates`, `near_duplicates`, `notes` and `progress`.
"""
