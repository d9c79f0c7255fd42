"""The mathematics depends on torch, timm and the hub's client alone: never on configuration, Ray, MLflow or pydantic."""

import ast
import sys
from pathlib import Path

import kmcl_platform.method

FOLDER = Path(kmcl_platform.method.__file__).parent
ALLOWED = {"torch", "timm", "huggingface_hub"}
EXPORTS = (
    "kmcl_platform.lazy_exports"  # what lists the public names of a package; it imports the standard library alone
)


def imported(path: Path) -> set[str]:
    """The modules that a file imports, at its top or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.add(str(node.module))
    return names


def test_the_method_imports_torch_and_timm_alone() -> None:
    modules = list(FOLDER.rglob("*.py"))
    assert len(modules) > 15
    for path in modules:
        for name in imported(path):
            top = name.split(".")[0]
            own = name in ("kmcl_platform.method", EXPORTS) or name.startswith("kmcl_platform.method.")
            assert own or top in ALLOWED or top in sys.stdlib_module_names, f"{path}: {name}"
