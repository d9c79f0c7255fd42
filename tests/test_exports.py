"""Each package exports its public names, and imports none of them before it is used."""

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

import kmcl_platform


def packages() -> Iterator[str]:
    for module in pkgutil.walk_packages(kmcl_platform.__path__, "kmcl_platform."):
        if module.ispkg:
            yield module.name


@pytest.mark.parametrize("name", list(packages()))
def test_every_exported_name_is_there(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__doc__, "a package says in one line what is in it"
    for exported in getattr(package, "__all__", []):
        assert hasattr(package, exported), exported


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    training = importlib.import_module("kmcl_platform.training")
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = training.no_such_name


def test_importing_the_packages_imports_no_heavy_library() -> None:
    code = (
        f"import sys, {', '.join(packages())}; "
        "sys.exit(' '.join({'torch', 'ray', 'mlflow', 'optuna', 'pandas', 'pyarrow'} & set(sys.modules)) or None)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def test_most_packages_export_something() -> None:
    empty = [name for name in packages() if not getattr(importlib.import_module(name), "__all__", None)]
    # The API has its names in `kmcl_platform`; commands are reached by `kmcl`, and components by registered names.
    others = [name for name in empty if not name.startswith("kmcl_platform.components")]
    assert others == ["kmcl_platform.api", "kmcl_platform.cli"]
