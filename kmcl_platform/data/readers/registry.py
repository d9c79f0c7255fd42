"""The readers, under the names that `kmcl data import` knows them by."""

from collections.abc import Callable

from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.readers.adp import read_adp
from kmcl_platform.data.readers.chestxray14 import read_chestxray14
from kmcl_platform.data.readers.coco import read_coco
from kmcl_platform.data.readers.table import read_table
from kmcl_platform.data.readers.voc import read_voc

READERS: dict[str, Callable[..., Manifest]] = {
    "voc": read_voc,
    "coco": read_coco,
    "adp": read_adp,
    "chestxray14": read_chestxray14,
    "table": read_table,
}
"""Each takes the official root (of a table: the file) and its own options, and copies no image."""
