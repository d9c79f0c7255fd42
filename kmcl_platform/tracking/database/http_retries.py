"""Answers that break off: a server that dies in the middle of one.

MLflow tries again by itself where a server cannot be reached or is busy, for minutes; an answer that has begun and ends
too early it raises at once. Nobody then knows whether the server has done what it was asked.
"""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

MAX_TRIES = 5


class Forgetful(Protocol):
    """Something that can ask the store again what it holds."""

    def forget(self) -> None:
        """Drop what is known of the store."""


_P = ParamSpec("_P")
_T = TypeVar("_T")
_S = TypeVar("_S", bound=Forgetful)


def again_if_cut_off(method: Callable[Concatenate[_S, _P], _T]) -> Callable[Concatenate[_S, _P], _T]:
    """Let a method that may be called twice for once begin anew, up to `MAX_TRIES` times, when an answer breaks off."""

    @functools.wraps(method)
    def wrapper(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        from mlflow.exceptions import MlflowException

        for _ in range(MAX_TRIES - 1):
            try:
                return method(self, *args, **kwargs)
            except MlflowException as error:
                if not is_cut_off(error):
                    raise
                self.forget()
        return method(self, *args, **kwargs)

    return wrapper


def is_cut_off(error: BaseException | None) -> bool:
    """Whether an answer that had begun is at the root of an error."""
    from requests.exceptions import ChunkedEncodingError

    seen: list[Any] = []
    while error is not None and error not in seen:
        if isinstance(error, ChunkedEncodingError):
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False
