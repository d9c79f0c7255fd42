"""The archive of learning curves: the trials of finished searches in one Parquet file.

schema        its columns, and its checks
collect       from MLflow's runs to its rows
archive_file  read, write and join such files
"""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.tracking.archive.archive_file import (
        join_archives as join_archives,
        read_archive as read_archive,
        write_archive as write_archive,
    )
    from kmcl_platform.tracking.archive.collect import (
        archive_searches as archive_searches,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
