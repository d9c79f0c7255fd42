"""Answers that break off because the server dies in the middle of one.

MLflow itself retries for minutes if a server cannot be reached or is busy. If an answer has begun and ends too early,
MLflow raises immediately, and it is unknown whether the server has done what was requested.
"""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

MAX_TRIES = 5


class Forgetful(Protocol):
    """An object that keeps data from the store and can read it again."""

    def forget(self) -> None:
        """Forget this data; the next call reads it again."""


_P = ParamSpec("_P")
_T = TypeVar("_T")
_S = TypeVar("_S", bound=Forgetful)


def again_if_cut_off(method: Callable[Concatenate[_S, _P], _T]) -> Callable[Concatenate[_S, _P], _T]:
    """Call a method again if an answer breaks off, up to `MAX_TRIES` calls.

    The method must be idempotent: two calls have the effect of one.
    """

    @functools.wraps(method)
    def wrapper(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        from mlflow.exceptions import MlflowException

        # The error of the last call, below the loop, is the caller's.
        for _ in range(MAX_TRIES - 1):
            try:
                return method(self, *args, **kwargs)
            except MlflowException as error:
                if not is_cut_off(error):
                    raise
                # The request may have changed the store before its answer broke off, so data that was read earlier may
                # be old.
                self.forget()
        return method(self, *args, **kwargs)

    return wrapper


def is_cut_off(error: BaseException | None) -> bool:
    """Whether the cause of an error is an answer that broke off."""
    from requests.exceptions import ChunkedEncodingError

    # MLflow raises its own error without `from`, so the original one is only in `__context__`. A chain of errors may
    # lead back to itself.
    seen: list[Any] = []
    while error is not None and error not in seen:
        if isinstance(error, ChunkedEncodingError):
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False
