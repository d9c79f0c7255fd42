"""How long work on a dataset reports its progress."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""A function of what is worked on, how much of it is done, and how much there is (files, rows or bytes)."""


def silent(what: str, done: int, total: int) -> None:
    """A progress function that shows nothing."""
