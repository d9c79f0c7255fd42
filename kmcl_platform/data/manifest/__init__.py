"""The manifest: every dataset as one checked Parquet table."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.data.manifest.class_names import (
        FIT_NAME as FIT_NAME,
        find_similar_names as find_similar_names,
        is_fit_name as is_fit_name,
    )
    from kmcl_platform.data.manifest.import_command import (
        METADATA_KEY as METADATA_KEY,
        ImportCommand as ImportCommand,
        read_import_command as read_import_command,
    )
    from kmcl_platform.data.manifest.manifest import (
        SPLITS as SPLITS,
        Manifest as Manifest,
        build_manifest as build_manifest,
        checked_manifest as checked_manifest,
        targets_to_numpy as targets_to_numpy,
        whole_numbers as whole_numbers,
    )
    from kmcl_platform.data.manifest.parquet import (
        read_facts as read_facts,
        read_manifest as read_manifest,
        read_parquet as read_parquet,
        to_stored_table as to_stored_table,
        without_index as without_index,
        write_manifest as write_manifest,
    )
    from kmcl_platform.data.manifest.relative_paths import (
        place_manifest as place_manifest,
    )
    from kmcl_platform.data.manifest.split_counts import (
        SplitSummary as SplitSummary,
        summarise as summarise,
        to_table as to_table,
    )
    from kmcl_platform.data.manifest.table_errors import (
        Fault as Fault,
        FaultyTable as FaultyTable,
        check_faults as check_faults,
        group_faults as group_faults,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
