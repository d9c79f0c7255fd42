"""The base of all configuration types: immutable, strict about names, finite numbers only."""

from types import NoneType
from typing import get_args

from pydantic import BaseModel, ConfigDict, ValidationError


class Frozen(BaseModel):
    """An immutable record that refuses unknown fields, infinities and NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


_KINDS = {"uniform", "loguniform", "int", "choice", "successive_halving", "hyperband", "none"}


def describe_error(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """Tell the first problem of a pydantic error in one line: dotted path, value got, what is valid.

    Args:
        error: what pydantic raised.
        model: the type that was being built, to list the valid names after a misspelt one.
        prefix: dotted path put before each location, for a record that is part of a larger file.
    """
    problems = error.errors(include_url=False)
    first = problems[0]
    # The tag of a union (`kind`) is part of pydantic's location, but not of the file's path.
    location = tuple(str(part) for part in first["loc"] if part not in _KINDS)
    path = ".".join((prefix, *location) if prefix else location)
    if first["type"] == "extra_forbidden":
        line = f"{path}: unknown name; valid: {', '.join(_field_names(model, location[:-1]))}"
    elif first["type"] == "missing":
        line = f"{path}: missing; it is required"
    elif first["type"] == "union_tag_invalid":
        context = first["ctx"]
        line = f"{path}.kind: got {context['tag']!r}; valid: {context['expected_tags']}"
    elif first["type"] == "union_tag_not_found":
        line = f"{path}.kind: missing; valid: one of the kinds that README.md lists"
    else:
        message = first["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("should be ")
        got = "" if isinstance(first["input"], dict) else f"got {first['input']!r}; "
        line = f"{path}: {got}valid: {message}" if path else message
    more = len(problems) - 1
    return f"{line} (and {more} more)" if more else line


def _field_names(model: type[BaseModel], location: tuple[str, ...]) -> list[str]:
    for name in location:
        field = model.model_fields.get(name)
        annotation = field.annotation if field else None
        # An optional record (`Record | None`) has the names of the record.
        parts = [part for part in get_args(annotation) if part is not NoneType] or [annotation]
        annotation = parts[0] if len(parts) == 1 else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ["see the documentation of the search file"]
        model = annotation
    return sorted(model.model_fields)
