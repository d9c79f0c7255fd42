"""Read a YAML file as a checked SearchFile, or raise an error of one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kmcl_platform.config.arms import expand_arms
from kmcl_platform.config.base import describe_error
from kmcl_platform.config.reports.epoch_report import objective_names
from kmcl_platform.config.search_file import NAME_PATTERN, SearchFile
from kmcl_platform.config.space.edge_check import check_every_edge
from kmcl_platform.errors import ConfigError, PluginError, ResourceError
from kmcl_platform.files.yaml_document import read_yaml
from kmcl_platform.messages import show_path, show_value
from kmcl_platform.plugins.registry import list_components
from kmcl_platform.plugins.sampler import Sampler
from kmcl_platform.plugins.scheduler import Scheduler
from kmcl_platform.plugins.source import PluginSource, find_known, find_plugin, load_plugin

FindPlugin = Callable[[str], PluginSource]
"""Gives the code of a plug-in by its name, or raises a ConfigError."""


SearchSource = Path | SearchFile
"""A search as it is given: the path of a search file, or one that was made in code."""


@dataclass(frozen=True)
class SearchDocument:
    """The text of a search file, before it is checked.

    Attributes:
        content: its bytes, which are recorded as they are.
        origin: its name for messages.
        find: gives the code of its plug-ins.
    """

    content: bytes
    origin: str
    find: FindPlugin

    def parse(self) -> SearchFile:
        """Read and check the file; raises as `read_search_file`."""
        return parse_search_file(self.content, self.origin, self.find)


def open_source(source: SearchSource) -> SearchDocument:
    """The text of a search.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
    """
    if isinstance(source, SearchFile):
        # The code was loaded when the object was made, perhaps from another folder.
        return SearchDocument(source.to_yaml().encode(), f"SearchFile {source.name!r}", find_known(source.base.plugins))
    return SearchDocument(read_bytes(source), show_path(source), find_beside(source))


def read_search_file(source: SearchSource) -> SearchFile:
    """Read and check a search file.

    Raises:
        ConfigError: the file is missing, is not YAML, or describes a search in which some trial would be invalid.
    """
    return open_source(source).parse()


def find_beside(path: Path) -> FindPlugin:
    """Finds the plug-ins of a search file: in its folder, or installed."""
    return lambda name: find_plugin(name, path.parent)


def read_bytes(path: Path) -> bytes:
    """Read a file whole.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{show_path(path)}: no such file; valid: the path of a YAML search file") from None
    except OSError as error:
        raise ConfigError(
            f"{show_path(path)}: cannot be read: {error.strerror}; valid: the path of a YAML search file"
        ) from None


def parse_search_file(content: bytes, origin: str, find: FindPlugin | None = None) -> SearchFile:
    """Build a SearchFile from the bytes of a YAML file.

    Args:
        content: the file's bytes.
        origin: the file's name, for messages.
        find: gives the code of a plug-in by its name. None: installed modules, and files in the current folder.

    Raises:
        ConfigError: as `read_search_file`.
    """
    tree = read_yaml(content, origin)
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin}: got {show_value(tree)}; valid: a YAML mapping with name, base, space and budget")
    with errors_name(origin):
        tree = with_plugins(tree, find or find_beside(Path("search.yaml")))
        try:
            file = SearchFile.model_validate(tree)
        except ValidationError as error:
            raise ConfigError(describe_error(error, SearchFile)) from None
        _check_every_search(file)
    return file


def with_plugins(tree: dict[str, Any], find: FindPlugin) -> dict[str, Any]:
    """Load the plug-ins that a file lists, and write the digests of their code into its base."""
    names, base = tree.get("plugins"), tree.get("base", {})
    # What is no list of texts has its own message later, as has a base that is no mapping.
    if not isinstance(names, list | tuple) or not isinstance(base, dict):
        return tree
    if not all(isinstance(name, str) for name in names):
        return tree
    digests = {}
    for name in names:
        source = find(name)
        load_plugin(source)
        digests[name] = source.digest
    return tree | {"base": base | {"plugins": digests}} if digests else tree


def _check_every_search(file: SearchFile) -> None:
    searches = expand_arms(file)
    # Each arm's own search: a value may be invalid only together with the values of one arm.
    for search in searches:
        try:
            check_every_edge(search)
        except ConfigError as error:
            where = f" (search {search.name})" if file.arms else ""
            raise ConfigError(f"{error}{where}") from None


@contextmanager
def errors_name(origin: str) -> Iterator[None]:
    """Put the name of a search file before the message of each error about what is in it."""
    try:
        yield
    except (ConfigError, PluginError, ResourceError) as error:
        raise type(error)(f"{origin}: {error}") from None


def search_file_schema() -> dict[str, Any]:
    """The JSON schema of a search file, with which editors complete and check one while it is written.

    What depends on several fields, such as a base outside of its space, is only found by `read_search_file`.
    """
    schema = SearchFile.model_json_schema()
    definitions = schema["$defs"]
    fields = _fields_by_path("", definitions["TrialConfig"], definitions)
    # The options of components, which plug-ins may add to. Their code is not a value.
    lists = [path for path in fields if path.endswith("options")]
    options = rf"^(({'|'.join(lists).replace('.', '[.]')})[.][a-z]|own[.]\w)"
    for path in ("plugins", "own", *lists):
        del fields[path]
    # Wherever a file has values at dotted paths, their names and types are those of the trial's fields.
    values = {
        "type": "object",
        "properties": fields,
        "patternProperties": {options: {}},
        "additionalProperties": False,
    }
    conditions = [one["properties"] for one in definitions.values() if "when" in one.get("properties", {})]
    for node in (schema["properties"]["arms"]["additionalProperties"], *(one["when"] for one in conditions)):
        node |= values
    definitions["Baseline"]["properties"]["values"] |= values
    definitions["Distribution"] = schema["properties"]["space"].pop("additionalProperties")
    schema["properties"]["space"] |= {
        "properties": {
            path: {"$ref": "#/$defs/Distribution", "properties": {"choices": {"items": field}}}
            for path, field in fields.items()
        },
        "patternProperties": {options: {"$ref": "#/$defs/Distribution"}},
        "additionalProperties": False,
    }
    # Only code may leave out the kind, because there the class says it.
    for one in definitions.values():
        if {"const", "default"} <= one.get("properties", {}).get("kind", {}).keys():
            del one["properties"]["kind"]["default"]
            one["required"] = ["kind", *one.get("required", [])]
    name = {"pattern": f"^{NAME_PATTERN.pattern}$"}
    schema["properties"]["name"] |= name
    definitions["Baseline"]["properties"]["name"] |= name
    # An own training has metrics of its own, and plug-ins may have names for the rest.
    own = {"properties": {"base": {"required": ["own"]}}, "required": ["base"]}
    known = objective_names(built_in=True)
    metrics = {"objective": {"properties": {"metric": {"enum": known}}}}
    kinds = {
        base.kind: {"properties": {"kind": {"enum": list_components(base, built_in=True)}}}
        for base in (Sampler, Scheduler)
    }
    definitions["Objective"]["properties"]["metric"] |= {"examples": known}
    no_plugins = {"not": {"required": ["plugins"]}}
    schema |= {
        "if": no_plugins,
        "then": {"properties": kinds, "if": own, "else": {"properties": metrics}},
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema | {"title": "A search file"}


def _fields_by_path(prefix: str, model: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of each field of a trial, by its dotted path."""
    found: dict[str, Any] = {}
    for name, field in model["properties"].items():
        reference = field.get("$ref") or next((one["$ref"] for one in field.get("allOf", []) if "$ref" in one), None)
        if reference:
            found |= _fields_by_path(f"{prefix}{name}.", definitions[reference.rpartition("/")[2]], definitions)
        else:
            found[prefix + name] = field
    return found
