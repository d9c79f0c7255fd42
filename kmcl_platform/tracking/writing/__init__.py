"""From the driver to MLflow: an outbox on disk, and a thread that empties it."""

from kmcl_platform.tracking.writing.recorder import Recorder

__all__ = ["Recorder"]
