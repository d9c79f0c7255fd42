"""The options of a reader, which are fields of its class, as those of its command."""

from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import click


def to_params(reader: Any) -> list[click.Parameter]:
    """The arguments ROOT and OUT, and the options of a reader."""
    return [
        click.Argument(["root"], type=click.Path(path_type=Path)),
        click.Argument(["out"], type=click.Path(path_type=Path)),
        click.Option(["--overwrite"], is_flag=True, help="Replace OUT if it exists."),
        *(_to_option(name, field) for name, field in reader.model_fields.items()),
    ]


def _to_option(name: str, field: Any) -> click.Option:
    # `str | None`: the option may be missing.
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType] or [field.annotation]
    kind = field.annotation if get_origin(field.annotation) in (Literal, tuple) else kinds[0]
    default = None if field.is_required() else field.default
    settings: dict[str, Any] = {"help": " ".join((field.description or "").split())}
    word = f"--{name.replace('_', '-')}"
    if field.is_required():
        settings["required"] = True
    if kind is bool:
        return click.Option([word], is_flag=True, default=default, **settings)
    if get_origin(kind) is tuple:
        return click.Option([word], metavar="A,B,…", default=",".join(default or ()), **settings)
    types: dict[Any, Any] = {int: click.INT, float: click.FLOAT, Path: click.Path(path_type=Path)}
    if get_origin(kind) is Literal:
        settings["type"] = click.Choice([str(one) for one in get_args(kind)])
    else:
        settings["type"] = types.get(kind, click.STRING)
    # An empty or missing default has its meaning in the help.
    if default not in (None, ""):
        settings |= {"default": default, "show_default": True}
    return click.Option([word], **settings)
