"""The base class of all configuration types, and the text of their errors."""

from collections.abc import Sequence
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from kmcl_platform.messages import show_value


class Frozen(BaseModel):
    """An immutable record that refuses unknown fields, infinities and NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


# The fields whose record is one of several kinds, and how deep in the file the record is: `space.PATH`, `scheduler`.
_UNIONS: dict[str, tuple[int, str]] = {
    "space": (2, "uniform, loguniform, int, choice"),
    "scheduler": (1, "successive_halving, hyperband, none"),
}

_PHRASES = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping, such as {{name: value}}",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number that is much smaller",
    "int_type": "a whole number",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "literal_error": "{expected}",
    "model_attributes_type": "a mapping, such as {{name: value}}",
    "model_type": "a mapping, such as {{name: value}}",
    "string_type": "text",
    "too_short": "at least {min_length}",
    "tuple_type": "a list, such as [1, 2]",
}
"""What is valid, by pydantic's name of the problem; filled in from the problem's context."""


def describe_error(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """The first problem of a pydantic error in one line: dotted path, the value found, what is valid.

    Args:
        error: what pydantic raised.
        model: the type that was being built; after a misspelt name its fields are listed.
        prefix: dotted path that is put before each location, for a record that is part of a larger file.
    """
    problems = error.errors(include_url=False)
    first: Any = problems[0]
    location = _file_location(first["loc"])
    path = ".".join((prefix, *location) if prefix else location)
    got = "" if isinstance(first["input"], dict) else f"got {show_value(first['input'])}; "
    match first["type"]:
        case "extra_forbidden":
            line = f"{path}: unknown name; valid: {', '.join(_field_names(model, location[:-1]))}"
        case "missing":
            line = f"{path}: missing; valid: give it a value, because it has no default"
        case "union_tag_invalid":
            line = f"{path}.kind: got {show_value(first['ctx']['tag'])}; valid: {first['ctx']['expected_tags']}"
        case "union_tag_not_found":
            line = f"{path}.kind: missing; valid: {_UNIONS.get(location[0], (0, 'a kind'))[1]}"
        case "invalid_key":
            line = f"{path}: got {show_value(first['input'])} as a name; valid: text"
        case "value_error":
            # Our own validators raise these. One that checks a whole file says the path and the value itself.
            reason = str(first["ctx"]["error"])
            line = f"{path}: {got}valid: {reason}" if path else reason
        case kind:
            message = first["msg"].removeprefix("Input ").removeprefix("should be ")
            phrase = _PHRASES[kind].format(**first.get("ctx", {})) if kind in _PHRASES else message
            line = f"{path}: {got}valid: {phrase}"
    more = len(problems) - 1
    return f"{line} (and {more} more)" if more else line


def _file_location(location: Sequence[int | str]) -> tuple[str, ...]:
    """Where a problem is in the file: pydantic's location also has the kind of a record, and marks of its own."""
    parts = list(location)
    depth = _UNIONS.get(str(parts[0]), (0, ""))[0] if parts else 0
    if depth and len(parts) > depth:
        del parts[depth]
    return tuple(str(part) if len(str(part)) <= 100 else show_value(part, 100) for part in parts if part != "[key]")


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
