"""Every command has a function of the Python API, which it calls."""

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import kmcl_platform
from kmcl_platform.cli.main import main

FUNCTIONS = {
    "init": "init",
    "data import voc": "import_data",
    "data import coco": "import_data",
    "data import adp": "import_data",
    "data import chestxray14": "import_data",
    "data import table": "import_data",
    "data import manifest": "import_data",
    "data check": "check_data",
    "data describe": "describe_data",
    "data pack": "pack_data",
    "plan": "plan",
    "search": "search",
    "resume": "resume",
    "train": "train",
    "leaderboard": "Store.leaderboard",
    "report": "Store.report",
    "export-config": "Store.export_config",
    "schema": "search_file_schema",
    "archive": "archive",
    "replay": "replay",
    "promote": "promote",
    "rollback": "rollback",
    "history": "history",
    "predict": "predict",
    "export": "export_onnx",
    "submit": "submit",
    "jobs": "open_jobs",
    "logs": "open_jobs",
    "stop": "stop_job",
    "doctor": "doctor",
    "ui": "serve_ui",
}
"""The function that does what a command does. A new command needs one."""


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield path + name, command


def test_every_command_has_a_function() -> None:
    assert {name for name, _ in commands(main)} == set(FUNCTIONS)
    page = Path("docs/python.md").read_text()
    for name in FUNCTIONS.values():
        owner, _, method = name.rpartition(".")
        assert callable(getattr(kmcl_platform, owner or method)), name
        assert callable(getattr(kmcl_platform.Store, method)) if owner else method in kmcl_platform.__all__
        assert f"`{name}(" in page, name


@pytest.mark.parametrize("path", sorted(Path("kmcl_platform/cli").glob("*.py")), ids=lambda path: path.stem)
def test_a_command_imports_nothing_but_public_names(path: Path) -> None:
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    public = {"__version__", *kmcl_platform.__all__}
    for node in imports:
        module = node.module or ""
        if module == "kmcl_platform":
            assert {alias.name for alias in node.names} <= public
        # Commands share their options, and the text of messages.
        elif module.startswith("kmcl_platform"):
            assert module.split(".")[1] in ("cli", "errors", "messages", "files", "shown"), module


def test_the_function_search_and_the_package_of_that_name_are_one() -> None:
    # The import of any of its modules makes the package an attribute of `kmcl_platform`.
    importlib.import_module("kmcl_platform.search.study.study")
    from kmcl_platform import search

    assert search is sys.modules["kmcl_platform.search"]
    with pytest.raises(
        kmcl_platform.KmclError, match=r"^no\.yaml: no such file; valid: the path of a YAML search file$"
    ):
        search("no.yaml")
