"""Files on this machine: atomic writing, locks between processes, YAML."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.files.atomic_write import (
        DRAFT_PREFIX as DRAFT_PREFIX,
        atomic_file as atomic_file,
        atomic_folder as atomic_folder,
        write_atomically as write_atomically,
    )
    from kmcl_platform.files.file_lock import (
        FileLock as FileLock,
    )
    from kmcl_platform.files.yaml_document import (
        read_yaml as read_yaml,
        write_yaml as write_yaml,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
