"""A hook of MkDocs: a page for each package with its public names and their docstrings, and their list in api.md."""

import ast
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).parents[2] / "kmcl_platform"
PLACE = "<!-- the site has the list of packages here -->"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    for folder in _packages():
        if content := _page(folder):
            files.append(File.generated(config, f"api/{folder.name}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the list of packages at its place in api.md."""
    if page.file.src_uri != "api.md":
        return markdown
    rows = [
        f"| [`{folder.name}`](api/{folder.name}.md) | {_about(folder)} |" for folder in _packages() if _page(folder)
    ]
    return markdown.replace(PLACE, "\n".join(["| package | content |", "|---|---|", *rows]))


def _packages() -> list[Path]:
    """The package itself, if it has public names, and the packages directly inside it."""
    return [PACKAGE, *sorted(file.parent for file in PACKAGE.glob("*/__init__.py"))]


def _page(folder: Path) -> str:
    """The public names of a package and of the packages inside it; empty if there are none."""
    files = [folder / "__init__.py"] if folder == PACKAGE else sorted(folder.rglob("__init__.py"))
    # A name that an inner package has too is described there. Files are sorted, so inner packages come later.
    place = {name: file for file in files for name in _public_names(file)}
    parts = []
    for file in files:
        if names := [name for name in _public_names(file) if place[name] == file]:
            title = ".".join(file.parent.relative_to(PACKAGE.parent).parts)
            parts += [f"## `{title}`", _about(file.parent), *(f"::: {module}.{name}" for name, module in names)]
    return "\n\n".join([f"# {folder.name}", *parts]) if parts else ""


def _about(folder: Path) -> str:
    return ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""


def _public_names(file: Path) -> list[tuple[str, str]]:
    """Each public name of a package, and the module that defines it: see kmcl_platform/lazy_exports.py."""
    blocks = [node for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return sorted((alias.name, str(node.module)) for node in imports for alias in node.names)
