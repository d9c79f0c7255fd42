"""Everything that is wrong with a manifest, found in one pass."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.data.check.check import (
        check_manifest as check_manifest,
    )
    from kmcl_platform.data.check.json_report import (
        to_json as to_json,
    )
    from kmcl_platform.data.check.remedies import (
        Remedy as Remedy,
        find_remedies as find_remedies,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
