"""From the bytes of a YAML file to a checked SearchFile, or one line that says what is wrong."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from kmcl_platform.config.arms import expand_arms
from kmcl_platform.config.base import describe_error
from kmcl_platform.config.edge_check import check_every_edge
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.errors import ConfigError


def read_search_file(path: Path) -> SearchFile:
    """Read and check a search file.

    Raises:
        ConfigError: the file is missing, is not YAML, or describes a search in which some trial would be invalid.
    """
    return parse_search_file(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """Read a file whole.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; valid: the path of a YAML search file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def parse_search_file(content: bytes, origin: str) -> SearchFile:
    """Build a SearchFile from the bytes of a YAML file.

    Args:
        content: the file's bytes, UTF-8.
        origin: the file's name, for messages.

    Raises:
        ConfigError: as `read_search_file`.
    """
    try:
        tree = yaml.load(content.decode(), Loader=_UniqueKeyLoader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{origin}: not UTF-8 text (byte {error.start}); valid: a YAML search file") from None
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigError(f"{origin}: {where}not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin}: got {type(tree).__name__}; valid: a YAML mapping with name, base, space, budget")
    try:
        file = SearchFile.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {describe_error(error, SearchFile)}") from None
    try:
        _check_every_search(file)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from None
    return file


def _check_every_search(file: SearchFile) -> None:
    searches = expand_arms(file)
    for search in searches:
        try:
            check_every_edge(search)
        except ConfigError as error:
            where = f" (search {search.name})" if file.arms else ""
            raise ConfigError(f"{error}{where}") from None


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, but a key that stands twice is an error: plain YAML would drop the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
