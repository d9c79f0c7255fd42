"""Read a YAML file as a checked SearchFile, or raise an error of one line."""

from pathlib import Path

from pydantic import ValidationError

from kmcl_platform.config.arms import expand_arms
from kmcl_platform.config.base import describe_error
from kmcl_platform.config.edge_check import check_every_edge
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.errors import ConfigError
from kmcl_platform.files.yaml_document import read_yaml
from kmcl_platform.messages import show_path, show_value


def read_search_file(path: Path) -> SearchFile:
    """Read and check a search file.

    Raises:
        ConfigError: the file is missing, is not YAML, or describes a search in which some trial would be invalid.
    """
    return parse_search_file(read_bytes(path), show_path(path))


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


def parse_search_file(content: bytes, origin: str) -> SearchFile:
    """Build a SearchFile from the bytes of a YAML file.

    Args:
        content: the file's bytes.
        origin: the file's name, for messages.

    Raises:
        ConfigError: as `read_search_file`.
    """
    tree = read_yaml(content, origin)
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin}: got {show_value(tree)}; valid: a YAML mapping with name, base, space and budget")
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
    # Each arm's own search: a value may be invalid only together with the values of one arm.
    for search in searches:
        try:
            check_every_edge(search)
        except ConfigError as error:
            where = f" (search {search.name})" if file.arms else ""
            raise ConfigError(f"{error}{where}") from None
