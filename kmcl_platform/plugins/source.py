"""Plug-ins: modules of users that register components. Each is one Python file, known by its content.

The content travels with everything that needs it: to the workers of a trial, into the record of the search, and into
the registered model. So a plug-in needs to be found once, when a search begins.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points
from importlib.util import find_spec, module_from_spec
from linecache import cache as line_cache
from pathlib import Path

from kmcl_platform.errors import ConfigError, KmclError
from kmcl_platform.files.file_status import is_same_file
from kmcl_platform.messages import show_path, show_value
from kmcl_platform.plugins.faults.code_errors import CODE_ERRORS, note_file, show_error
from kmcl_platform.plugins.registry import NAME_PATTERN, forget_components


@dataclass(frozen=True)
class PluginSource:
    """The code of a plug-in.

    Attributes:
        name: of the module.
        code: the text of its file.
        origin: the place of the file, for messages.
    """

    name: str
    code: str
    origin: str

    @property
    def digest(self) -> str:
        """The SHA-256 of the code, 64 hexadecimal digits."""
        return sha256(self.code.encode()).hexdigest()


ENTRY_POINTS = "kmcl_platform.plugins"
"""The group of entry points by which installed packages offer plug-ins."""

_known: dict[tuple[str, str], PluginSource] = {}
"""All plug-ins that this process has met, by name and digest."""

_loaded: dict[str, str] = {}
"""The digest of the code that each plug-in's module has now."""


def find_plugin(name: str, folder: Path) -> PluginSource:
    """The file of a plug-in: NAME.py in a folder, or else an installed module of one file.

    A package that is installed may offer a module under another name, by an entry point of the group
    `kmcl_platform.plugins`.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise ConfigError(
            f"plugins: got {show_value(name)}; valid: the name of a module, without folder and without .py"
        )
    path = folder / f"{name}.py"
    if path.is_file():
        if is_taken(name, path):
            raise ConfigError(
                f"plugins: got {show_value(name)} ({show_path(path)}), which is also the name of a module of Python or "
                "of an installed package; valid: another name"
            )
    else:
        installed = _find_installed(name)
        if installed is None:
            raise ConfigError(
                f"plugins: got {show_value(name)}; valid: a file {show_path(path)}, or an installed module of one file"
            )
        if name in sys.builtin_module_names or name in sys.stdlib_module_names or name.startswith("kmcl_platform"):
            raise ConfigError(f"plugins: got {show_value(name)}, a module of Python; valid: a module of your own")
        path = installed
    try:
        return PluginSource(name, path.read_text(encoding="utf-8-sig"), show_path(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"plugins.{name}: {show_path(path)} cannot be read: {error}; valid: a text in UTF-8"
        ) from None


def is_taken(name: str, path: Path) -> bool:
    """Whether a module of Python or of an installed package has the name of a plug-in's file."""
    # The plug-in would replace it for all other code.
    if name in sys.builtin_module_names or name in sys.stdlib_module_names or name == "kmcl_platform":
        return True
    # Only where packages are installed: the folder of the file may be one in which Python looks for modules, too.
    folders = [folder for folder in sys.path if Path(folder).name in ("site-packages", "dist-packages")]
    spec = PathFinder.find_spec(name, folders)
    return spec is not None and (spec.origin is None or not is_same_file(Path(spec.origin), path))


def find_known(digests: Mapping[str, str]) -> Callable[[str], PluginSource]:
    """Finds plug-ins that this process has loaded, by name.

    Args:
        digests: of the code of each.
    """
    return lambda name: _known[name, digests[name]]


def _find_installed(name: str) -> Path | None:
    """The file of an installed module, by its name or by that of an entry point; None: there is none."""
    for entry in entry_points(group=ENTRY_POINTS, name=name):
        return _file_of(entry.module)
    # A plug-in that was loaded from a record has no file.
    return None if name in _loaded else _file_of(name)


def _file_of(module: str) -> Path | None:
    """The file of a module that is no package; None: it has none. Nothing is imported."""
    top, *inner = module.split(".")
    spec = find_spec(top)
    if spec is None:
        return None
    if inner:
        # Not by `find_spec` of the whole name, which imports the packages around the module.
        folders = spec.submodule_search_locations or ()
        return next((file for one in folders if (file := Path(one, *inner).with_suffix(".py")).is_file()), None)
    if spec.origin is None or not spec.origin.endswith(".py") or spec.submodule_search_locations:
        return None
    return Path(spec.origin)


def know_plugin(source: PluginSource) -> None:
    """Make a plug-in known to this process; it is loaded when a configuration names it."""
    _known[source.name, source.digest] = source


def to_documents(plugins: Mapping[str, str]) -> list[dict[str, str]]:
    """The code of a configuration's plug-ins, to be sent or kept with it.

    Args:
        plugins: their names and digests, which this process has loaded.
    """
    found = (_known[name, digest] for name, digest in plugins.items())
    return [{"name": one.name, "code": one.code, "origin": one.origin} for one in found]


def know_documents(documents: Iterable[Mapping[str, str]]) -> None:
    """Make the plug-ins of `to_documents` known to this process, before a configuration is read that names them."""
    for one in documents:
        know_plugin(PluginSource(one["name"], one["code"], one["origin"]))


def load_documents(documents: Iterable[Mapping[str, str]]) -> None:
    """Load the plug-ins of `to_documents`, before objects are read that have classes of them."""
    for one in documents:
        load_plugin(PluginSource(one["name"], one["code"], one["origin"]))


@contextmanager
def other_plugins() -> Iterator[None]:
    """Inside it, other code of the same plug-ins may be loaded. At the end, the code of before is loaded again."""
    before = dict(_loaded)
    try:
        yield
    finally:
        for name, digest in before.items():
            require_plugin(name, digest)


def require_plugin(name: str, digest: str) -> None:
    """Load a plug-in that this process knows.

    Raises:
        ConfigError: it is not known, or its code cannot be loaded.
    """
    if _loaded.get(name) == digest:
        return
    if (name, digest) not in _known:
        raise ConfigError(
            f"plugins.{name}: got {digest[:12]}, whose code is not here; valid: {name}.py beside the search file, with "
            "the content with which the search began"
        )
    load_plugin(_known[name, digest])


def load_plugin(source: PluginSource) -> None:
    """Run the code of a plug-in, which registers its components. Other code of the same name is forgotten.

    Raises:
        ConfigError: it cannot be run, or it registers a component that cannot be one.
    """
    know_plugin(source)
    if _loaded.get(source.name) == source.digest:
        return
    forget_components(source.name)
    _loaded.pop(source.name, None)
    module = module_from_spec(ModuleSpec(source.name, None, origin=source.origin))
    # Without it, pydantic does not find the texts under the options.
    module.__file__ = source.origin
    note_file(source.origin)
    # Lines of the code in tracebacks, also where there is no such file.
    line_cache[source.origin] = len(source.code), None, source.code.splitlines(keepends=True), source.origin
    before = sys.modules.get(source.name)
    # As for any import: a class of the module is found by its name, for example by pydantic.
    sys.modules[source.name] = module
    try:
        exec(compile(source.code, source.origin, "exec"), module.__dict__)
    except BaseException as error:
        forget_components(source.name)
        if before is None:
            del sys.modules[source.name]
        else:
            sys.modules[source.name] = before
        if not isinstance(error, CODE_ERRORS):
            raise
        reason = str(error) if isinstance(error, KmclError) else show_error(error)
        raise ConfigError(
            f"plugins.{source.name}: {source.origin} cannot be loaded: {reason}"
            + ("" if isinstance(error, KmclError) else "; valid: a module that Python can import")
        ) from error
    _loaded[source.name] = source.digest
