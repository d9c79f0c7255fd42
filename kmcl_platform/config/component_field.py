"""Fields whose record is a component: its name under `kind`, and its options beside it."""

from typing import Any, TypeVar

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, SerializationInfo, ValidationError
from pydantic_core import CoreSchema, core_schema

from kmcl_platform.config.base import describe_error
from kmcl_platform.config.component_options import read_component
from kmcl_platform.errors import ConfigError
from kmcl_platform.messages import show_value
from kmcl_platform.plugins.component import Component
from kmcl_platform.plugins.registry import find_component, list_components

C = TypeVar("C", bound=Component)

OF_A_PLUGIN = "Of a plug-in"
"""Title of the part of the JSON schema that stands for all components of plug-ins."""


def default_component(base: type[C], name: str) -> Any:
    """The default of such a field: a component with its own defaults."""
    return Field(default_factory=lambda: find_component(base, name)(), json_schema_extra={"default": {"kind": name}})


class NamedComponent:
    """Beside the type of a field: its value is read from `{kind: NAME, OPTION: …}`, and written as such a record."""

    def __init__(self, base: type[Component], default: str = "") -> None:
        """
        Args:
            base: the class of the kind, such as `Sampler`.
            default: the name if the record has no `kind`; empty: it must have one.
        """
        self._base = base
        self._default = default

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        names = list_components(self._base, built_in=True)
        return core_schema.no_info_wrap_validator_function(
            lambda value, _: self._read(value),
            # Not used to read a value, but for the JSON schema.
            core_schema.union_schema([handler.generate_schema(find_component(self._base, name)) for name in names]),
            serialization=core_schema.plain_serializer_function_ser_schema(_write, info_arg=True),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """One schema for each of the platform's own components, and one for those of plug-ins, whose names differ."""
        names = list_components(self._base, built_in=True)
        kinds = handler(schema)["anyOf"]
        for name, kind in zip(names, kinds, strict=True):
            own = handler.resolve_ref_schema(kind)
            own["properties"] = {"kind": {"const": name}} | own.get("properties", {})
            if name != self._default:
                own["required"] = ["kind"]
        other = {"title": OF_A_PLUGIN, "type": "object", "required": ["kind"]}
        return {"oneOf": [*kinds, other | {"properties": {"kind": {"type": "string", "not": {"enum": names}}}}]}

    def _read(self, value: Any) -> Component:
        # As in all validators, the text of a ValueError is what follows the field's path in the message.
        if isinstance(value, self._base):
            return value
        if not isinstance(value, dict):
            raise ValueError("a mapping, such as {kind: name}")
        options = dict(value)
        name = options.pop("kind", self._default)
        known = ", ".join(list_components(self._base))
        if name == "":
            raise ValueError(f"kind: missing; valid: {known}")
        if not isinstance(name, str):
            raise ValueError(f"kind: got {show_value(name)}; valid: {known}")
        try:
            component = find_component(self._base, name)
        except ConfigError as error:
            raise ValueError(f"kind: got {show_value(name)}; valid: {error}") from None
        try:
            return read_component(component, options)
        except ValidationError as error:
            raise ValueError(describe_error(error, component)) from None


def _write(component: Component, info: SerializationInfo) -> dict[str, Any]:
    return {"kind": component.name} | component.model_dump(mode=info.mode)
