"""What is wrong with the class of a component, in words: its options, and the arguments of its methods."""

import inspect
from types import FunctionType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import PydanticUserError, ValidationError

from kmcl_platform.messages import show_value
from kmcl_platform.plugins.component import Component
from kmcl_platform.plugins.faults.code_errors import CODE_ERRORS, show_error
from kmcl_platform.plugins.record_errors import describe_error

_VALUES = (bool, int, float, str, NoneType)
"""The types of a value in a search file."""

_ALSO = (Any, object)
"""Types of anything; the value itself is checked then."""


def find_problem_of_class(component: type[Component]) -> str | None:
    """Why a class cannot be a component, in words that follow a name and a colon; None: it can."""
    return (
        _find_problem_of_options(component)
        or _find_problem_of_methods(component)
        or _find_problem_of_defaults(component)
    )


def _find_problem_of_options(component: type[Component]) -> str | None:
    for option, field in component.model_fields.items():
        if component.needs_defaults and field.is_required():
            return f"option {option} has no default; valid: a default for each option"
        if option in (*Component.__class_vars__, *component.reserved):
            return f"got an option {option}, a name that the platform uses; valid: another name"
        if field.alias or field.validation_alias or field.serialization_alias:
            return f"option {option} has an alias; valid: no alias"
        if not _is_valid(field.annotation, component.option_types):
            also = ", Path, tuple[str, ...]" if component.option_types else ""
            return (
                f"option {option}: got the type {_show_type(field.annotation)}; valid: bool, int, float, str, None, "
                f"Literal{also}, or several of them (int | None)"
            )
    return None


def _is_valid(annotation: Any, also: tuple[Any, ...]) -> bool:
    # A type that was named by `type NAME = …` of Python 3.12.
    annotation = getattr(annotation, "__value__", annotation)
    if annotation in (*_VALUES, *_ALSO, *also):
        return True
    match get_origin(annotation):
        case origin if origin is Literal:
            return all(type(one) in _VALUES for one in get_args(annotation))
        case origin if origin is Annotated:
            return _is_valid(get_args(annotation)[0], also)
        case origin if origin is Union or origin is UnionType:
            return all(_is_valid(one, also) for one in get_args(annotation))
    return False


def _show_type(annotation: Any) -> str:
    named = isinstance(annotation, type) and not get_args(annotation)
    return show_value(annotation).replace("typing.", "") if not named else annotation.__qualname__


def _find_problem_of_methods(component: type[Component]) -> str | None:
    """Which method of a class cannot be called as the platform calls it."""
    for base in component.__mro__[1:]:
        if not base.__module__.startswith("kmcl_platform.plugins."):
            continue
        for name, wanted in vars(base).items():
            own = inspect.getattr_static(component, name)
            is_method = isinstance(wanted, FunctionType) and isinstance(own, FunctionType)
            if not is_method or own is wanted or name.startswith("_"):
                continue
            parameters = inspect.signature(wanted).parameters.values()
            keywords = {one.name: None for one in parameters if one.kind is one.KEYWORD_ONLY}
            try:
                inspect.signature(own).bind(*[None] * (len(parameters) - len(keywords)), **keywords)
            except TypeError:
                valid = ", ".join(one.name for one in parameters)
                got = ", ".join(
                    str(one.replace(annotation=one.empty)) for one in inspect.signature(own).parameters.values()
                )
                return f"got the method {name}({got}); valid: {name}({valid})"
    return None


def _find_problem_of_defaults(component: type[Component]) -> str | None:
    if not component.needs_defaults:
        return None
    try:
        values = component.model_validate({}).model_dump(warnings=False)
        # Again as given values, which pydantic checks. It could check defaults by itself, but it would change them too:
        # the definition of a search that has begun would have 1.0 in place of 1.
        component.model_validate(values)
    except ValidationError as error:
        return f"option {describe_error(error, component)}, but this is its default"
    except PydanticUserError as error:
        # A type that has no meaning where the class is, for example because it is not imported.
        return f"{str(error).splitlines()[0]}; valid: types that are known at the class"
    except CODE_ERRORS as error:
        return f"with its defaults it raises {show_error(error)}; valid: no error"
    for option, value in values.items():
        if not isinstance(value, _VALUES):
            return f"option {option}: got the default {show_value(value)}; valid: a number, text, true, false or None"
    return None
