"""The public names of a package, imported when they are first used.

A package's `__init__.py` lists its public names once, as imports under `if TYPE_CHECKING:`, which type checkers and
editors read. At run time, each import is done when its name is first used (PEP 562). So `kmcl --help` and a training
worker do not load torch, Ray and MLflow if they need only one light module of a package.
"""

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def lazy_exports(package: str, file: str) -> tuple[Callable[[str], Any], list[str]]:
    """The `__getattr__` and the `__all__` of a package.

    Args:
        package: the package's `__name__`.
        file: the package's `__file__`, whose imports under `if TYPE_CHECKING:` are its public names.

    >>> from kmcl_platform.method import KmclLoss
    >>> KmclLoss.__module__
    'kmcl_platform.method.losses.kmcl'
    """
    modules = _read_names(Path(file))

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return get, sorted(modules)


def _read_names(file: Path) -> dict[str, str]:
    """Each public name and the module that defines it."""
    # Parsed and not run: running these imports would load every module of the package.
    blocks = [node for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}
