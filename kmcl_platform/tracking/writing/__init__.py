"""From the driver to MLflow: an outbox on disk, and a thread that empties it."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.tracking.writing.recorder import (
        Recorder as Recorder,
    )
    from kmcl_platform.tracking.writing.writer import (
        Writer as Writer,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
