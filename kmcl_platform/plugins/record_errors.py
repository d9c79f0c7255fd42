"""The text of errors about records: one line with the path, the value found and what is valid."""

from collections.abc import Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, dataclass_transform, get_args

from pydantic import BaseModel, Field, ValidationError

from kmcl_platform.errors import ConfigError
from kmcl_platform.messages import show_value

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    # The same class, whose own module is no public one.
    ModelMetaclass = type(BaseModel)


@dataclass_transform(kw_only_default=True, field_specifiers=(Field,))
class OneLineErrors(ModelMetaclass):
    """Turns pydantic's error into one line where a record is made in code.

    A record that is read as a part of another one, or by `model_validate`, is not made by a call of its class: its
    reader knows the path in the whole file.
    """

    def __call__(cls: Any, *values: Any, **fields: Any) -> Any:
        if values and cls.__init__ is BaseModel.__init__:
            names = ", ".join(f"{name}=…" for name, field in cls.model_fields.items() if field.is_required())
            valid = f"{cls.__name__}({names or 'NAME=…'})"
            raise ConfigError(f"{cls.__name__}: got {show_value(values[0])} without a name; valid: {valid}")
        try:
            return type.__call__(cls, *values, **fields)
        except ValidationError as error:
            raise ConfigError(describe_error(error, cls, cls.__name__)) from None


# Fields whose record is one of several kinds: how deep the record is in the file (`space.PATH`), and the kinds.
_UNIONS: dict[str, tuple[int, str]] = {
    "space": (2, "uniform, loguniform, int, choice"),
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
"""Texts after `valid:`, by pydantic's name of the problem. They are filled in from the problem's context."""


def describe_error(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """The first problem of a pydantic error in one line: dotted path, the value found, what is valid.

    Args:
        error: the error of pydantic.
        model: the type that pydantic tried to build. Its fields are listed after an unknown name.
        prefix: dotted path of the record, if it is a part of a larger file.
    """
    # One line for the user: the first problem in full, the others as a number.
    problems = error.errors(include_url=False)
    if any(one["loc"][:1] == ("objectives",) for one in problems):
        # `objective` is a copy of the first of them, and is not in the file.
        problems = [one for one in problems if one["loc"][:1] != ("objective",)]
    first, *others = problems
    location = _file_location(first["loc"])
    path = ".".join((prefix, *location) if prefix else location)
    line = _describe_name(first, path, location, model) or _describe_value(first, path)
    return f"{line} (and {len(others)} more)" if others else line


def _describe_name(problem: Any, path: str, location: tuple[str, ...], model: type[BaseModel]) -> str | None:
    """The line for a name that is unknown, missing or not a text. None: the problem is a value."""
    match problem["type"]:
        case "extra_forbidden" if location[0] == "space" and location[-1] == "zero":
            return f"{path}: got {show_value(problem['input'])}; valid: only with kind loguniform"
        case "extra_forbidden":
            return f"{path}: unknown name; valid: {', '.join(_field_names(model, location[:-1])) or 'no options'}"
        case "missing":
            return f"{path}: missing; valid: give it a value, because it has no default"
        case "union_tag_not_found":
            return f"{path}.kind: missing; valid: {_UNIONS.get(location[0], (0, 'a kind'))[1]}"
        case "invalid_key":
            return f"{path}: got {show_value(problem['input'])} as a name; valid: text"
    return None


def _describe_value(problem: Any, path: str) -> str:
    kind, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "union_tag_invalid":
        return f"{path}.kind: got {show_value(context['tag'])}; valid: {context['expected_tags']}"
    if kind == "value_error" and not path:
        # A validator of the platform that checks a whole file: its text has the path and the value.
        return str(context["error"])
    if kind == "value_error" and "; valid: " in (phrase := str(context["error"])):
        # A validator of several fields: its text has the path of one of them, below this record, and its value.
        return f"{path}.{phrase}"
    if kind == "value_error":
        phrase = str(context["error"])
    elif kind in _PHRASES:
        phrase = _PHRASES[kind].format(**context)
    else:
        phrase = problem["msg"].removeprefix("Input ").removeprefix("should be ")
    # A whole record would fill the line; its path says enough.
    got = "" if isinstance(value, dict) else f"got {show_value(value)}; "
    return f"{path}: {got}valid: {phrase}"


def _file_location(location: Sequence[int | str]) -> tuple[str, ...]:
    """The place of a problem in the file: pydantic's location without the kind of a record and without `[key]`."""
    parts = list(location)
    depth = _UNIONS.get(str(parts[0]), (0, ""))[0] if parts else 0
    # pydantic inserts the kind that it chose, such as `uniform`, which is no name in the file.
    if depth and len(parts) > depth:
        del parts[depth]
    # A name in a file can be megabytes long, or have line breaks.
    shown = [str(part) for part in parts if part != "[key]"]
    return tuple(part if len(part) <= 100 and part.isprintable() else show_value(part, 100) for part in shown)


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
