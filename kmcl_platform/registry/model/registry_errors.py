"""Errors of a registry that others have changed, as one line for the user."""

from collections.abc import Iterator
from contextlib import contextmanager

from kmcl_platform.config.store import Store
from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.model.versions import NOT_FOUND
from kmcl_platform.tracking.database import find_trouble

_REFUSED = (*NOT_FOUND, "INVALID_STATE")


@contextmanager
def registry_errors(store: Store, model: str) -> Iterator[None]:
    """Turn MLflow's errors inside the block into errors that are one line.

    MLflow's UI and other tools can delete a run, a version or a model between two requests of a command, so that any
    request may fail. Errors that are neither MLflow's refusals nor troubles of the store pass unchanged.

    Args:
        store: the one that the block works on.
        model: the registered model's name, for the message.

    Raises:
        RegistryError: MLflow does not find or does not accept something that the block asks for.
        StoreError: the disk is full, or a server or database does not answer.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except Exception as error:
        # First, because MLflow's error may mean that the server does not answer.
        if trouble := find_trouble(error, store):
            raise trouble from error
        if not isinstance(error, MlflowException) or error.error_code not in _REFUSED:
            raise
        reason = " ".join(str(error).split())
        raise RegistryError(
            f"model {model!r}: MLflow refused a request ({reason}): something that belongs to the model was changed or "
            "deleted; valid: the same command again, after a look at the model in `kmcl ui`"
        ) from error
