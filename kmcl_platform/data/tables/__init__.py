"""Text files as tables: their encodings, delimiters, cells of labels, and columns of labels as targets."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.data.tables.columns import (
        class_columns_to_targets as class_columns_to_targets,
        joined_labels_to_targets as joined_labels_to_targets,
    )
    from kmcl_platform.data.tables.encodings import (
        decode_text as decode_text,
        find_encoding as find_encoding,
        split_lines as split_lines,
    )
    from kmcl_platform.data.tables.label_cells import (
        MISSING_WORDS as MISSING_WORDS,
    )
    from kmcl_platform.data.tables.text_table import (
        read_text_table as read_text_table,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
