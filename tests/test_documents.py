"""What the code and the documents refer to exists: documents, files, tests, make targets, links, commands."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from kmcl_platform.cli.main import main

ROOT = Path(__file__).parents[1]
FOLDERS = ("kmcl_platform", "tests", "benchmarks", "jobs", "docs", "deploy", "search_spaces")
SUFFIXES = (".py", ".md", ".yaml", ".toml", ".sh", "Makefile", "run")
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
DOCUMENT_IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

# Written by a command, once for each device that it ran on.
PLACEHOLDERS = {"docs/losses-DEVICE.md", "docs/losses.md"}


@cache
def files() -> tuple[Path, ...]:
    """The project's own files: those of its folders, and those at the top."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    found += [path for path in ROOT.iterdir() if path.is_file()] + [ROOT / ".ci" / "run"]
    return tuple(path for path in found if "__pycache__" not in path.parts)


def texts() -> Iterator[tuple[Path, str]]:
    """Path and text of each file that may refer to others."""
    for path in files():
        if path.name.endswith(SUFFIXES) and path != Path(__file__) and path.name != "kuberay_schema.yaml":
            yield path, path.read_text(encoding="utf-8")


def is_file(name: str, referrer: Path) -> bool:
    """Whether a name, from the root or the referrer's folder, or the end of a path, is one of the project's files."""
    ends = (f"/{path.relative_to(ROOT)}".endswith(f"/{name}") for path in files())
    return (ROOT / name).exists() or (referrer.parent / name).exists() or any(ends)


def test_every_document_that_is_named_exists() -> None:
    named = [(path, name) for path, text in texts() for name in re.findall(r"[\w./-]+\.md\b", text)]
    assert len(named) > 30
    missing = {f"{path}: {name}" for path, name in named if not is_file(name, path) and name not in PLACEHOLDERS}
    assert not missing


def test_every_section_of_the_method_that_is_named_exists() -> None:
    sections = {title for title, _ in headings((ROOT / "docs" / "method.md").read_text())}
    named = [
        (path, name.strip())
        for path, text in texts()
        for name in re.findall(r"docs/method\.md, ([A-Z][a-z]+(?:\s[a-z]+)*)", text)
    ]
    assert len(named) > 10
    missing = {
        f"{path}: {name}" for path, name in named if not any(" ".join(name.split()).startswith(s) for s in sections)
    }
    assert not missing


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([\w.]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)) | {".venv/.ready"}
    named = [(path, name) for path, text in texts() for name in re.findall(r"(?:`|\(|^)make ([\w./]+)", text, re.M)]
    assert len(named) > 10
    assert not {f"{path}: make {name}" for path, name in named if name not in targets}


def test_every_file_and_test_that_a_document_names_exists() -> None:
    checked = 0
    missing = set()
    for path in DOCUMENTS:
        for name, test in re.findall(r"([\w./-]+\.(?:py|yaml|sh))\b(?:::(\w+))?", path.read_text()):
            checked += 1
            name = name.removeprefix("/kmcl_platform/")  # a checkout in the home folder
            if not is_file(name, path) and name not in OF_THE_USER:
                missing.add(f"{path}: {name}")
            elif test and f"def {test}(" not in (ROOT / name).read_text():
                missing.add(f"{path}: {name}::{test}")
        for module in re.findall(r"\b(?:kmcl_platform|benchmarks|tests)(?:\.[a-z_]\w*)+\b", path.read_text()):
            checked += 1
            if not is_module(module):
                missing.add(f"{path}: {module}")
    assert checked > 50
    assert not missing


def test_every_path_that_the_code_names_exists() -> None:
    """A path has a folder: `model.py` alone may be any file."""
    pattern = re.compile(r"(?<![\w~$}/.-])([\w.-]+/[\w./-]*\.(?:py|yaml|sh))\b")
    named = [(path, name) for path, text in texts() if path.suffix != ".md" for name in pattern.findall(text)]
    assert len(named) > 20
    missing = {f"{path}: {name}" for path, name in named if not is_file(name, path) and name not in OF_THE_USER}
    assert not missing


def test_the_map_of_the_code_names_every_sub_package() -> None:
    shown = set(re.findall(r"\b([a-z_]+)/", (ROOT / "docs" / "code_map.md").read_text()))
    folders = {path.parent for path in (ROOT / "kmcl_platform").glob("*/**/__init__.py")}
    assert len(folders) > 30
    assert {str(path.relative_to(ROOT)) for path in folders if path.name not in shown} == set()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_page_of_commands_has_every_command() -> None:
    named = {tuple(words[:2]) for words, _ in commands((ROOT / "docs" / "commands.md").read_text())}
    groups = [name for name, command in main.commands.items() if isinstance(command, click.Group)]
    wanted = {(name,) for name in main.commands if name not in groups}
    wanted |= {(name, inner) for name in groups for inner in main.commands[name].commands}  # type: ignore[attr-defined]
    assert len(wanted) > 20
    assert {words for words in wanted if not any(one[: len(words)] == words for one in named)} == set()


def test_every_page_is_in_the_menu_of_the_site_and_in_the_table_of_contents() -> None:
    menu, contents = (ROOT / "mkdocs.yml").read_text(), (ROOT / "docs" / "index.md").read_text()
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in DOCUMENTS[1:]} - {"index.md"}
    pages |= {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.ipynb")}
    assert {page for page in pages if f": {page}\n" not in menu and f"- {page}\n" not in menu} == set()
    # Experiments are reached by the page about them.
    contents += (ROOT / "docs" / "measured.md").read_text()
    assert {page for page in pages if f"]({page}" not in contents} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=DOCUMENT_IDS)
def test_a_list_is_a_list_in_the_repository_and_on_the_site(document: Path) -> None:
    """Python-Markdown needs an empty line before a list or a table, and four spaces for what is inside an item."""
    before, inside = "", False
    for number, line in enumerate(without_code(document.read_text()).splitlines(), 1):
        item = re.match(r"( *)(?:- |\d+\. )", line)
        place = f"{document.name}, line {number} without code: {line}"
        assert not item or len(item[1]) % 4 == 0, place
        assert not item or inside or not before.strip(), place
        assert not line.startswith("|") or before.startswith("|") or not before.strip(), place
        assert before.strip() or item or not re.match(" {1,3}[^ ]", line), place
        before, inside = line, bool(item) or (inside and bool(line.strip()))


OF_THE_USER = {
    "report/best.yaml", "my_search.yaml", "my_losses.py", "my_heads.py", "my_backbones.py", "my_augmentations.py", "my_sampling.py", "my_metrics.py", "my_reader.py", "heavy.yaml",
    "pets.yaml", "best.yaml", "ranking.yaml", "my_ranking.py", "NAME.py", "NAME.yaml",
}  # fmt: skip
"""Files in examples, which the reader makes."""


def is_module(name: str) -> bool:
    """Whether a dotted name is a module, or something defined in one."""
    if (ROOT / Path(*name.split("."))).exists():
        return True
    parent, _, last = name.rpartition(".")
    try:
        spec = find_spec(name) or find_spec(parent)
    except ModuleNotFoundError:
        return False
    if spec is None or spec.origin is None:
        return False
    return spec.name == name or re.search(rf"\b{last}\b", Path(spec.origin).read_text()) is not None


def headings(text: str) -> list[tuple[str, str]]:
    """Title and anchor of each heading, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE)
    return [(title, re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")) for title in titles]


@pytest.mark.parametrize("document", DOCUMENTS, ids=DOCUMENT_IDS)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    text = document.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        aim = (document.parent / name).resolve() if name else document
        assert aim.exists(), target
        assert aim.is_relative_to(ROOT), target
        if anchor:
            assert anchor in {mark for _, mark in headings(aim.read_text())}, target


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def commands(text: str) -> Iterator[tuple[list[str], bool]]:
    """The words after `kmcl` of each command, and whether it is complete: those in a code block are."""
    # A block of kind `text` shows output.
    blocks = re.findall(r"^```([a-z]*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for line in "".join(block for kind, block in blocks if kind != "text").replace("\\\n", " ").splitlines():
        # Also after a prompt, another command or the path of a virtual environment.
        if match := re.search(r"(?:^|[;&|] ?|-- |bin/)kmcl ([a-z].*)", line):
            yield shlex.split(match[1], comments=True), True
    for code in re.findall(r"`([^`]+)`", without_code(text)):
        if match := re.search(r"^(?:.* )?kmcl ([a-z].*)", " ".join(code.split())):
            yield shlex.split(match[1], comments=True), False


def check_command(words: list[str], *, complete: bool) -> None:
    """Parse a command line without running it; click raises UsageError where it is wrong."""
    command: click.Command = main
    while isinstance(command, click.Group):
        if words[0].isupper() and not complete:  # `kmcl data import KIND ROOT OUT`
            return
        name, found, words = command.resolve_command(click.Context(command), words)
        assert found is not None, name
        command = found
        if not words and isinstance(command, click.Group):
            return
    try:
        command.make_context(command.name, list(words))
    except click.MissingParameter:
        # A text may name a command without all of its arguments.
        if complete:
            raise
    except click.BadParameter as error:
        if "does not exist" not in error.format_message():
            raise
    except click.exceptions.Exit:  # --help
        pass


@pytest.mark.parametrize("document", DOCUMENTS, ids=DOCUMENT_IDS)
def test_every_kmcl_command_parses(document: Path) -> None:
    for words, complete in commands(document.read_text()):
        try:
            check_command(words, complete=complete)
        except click.UsageError as error:
            raise AssertionError(f"kmcl {shlex.join(words)}: {error.format_message()}") from None


@pytest.mark.parametrize(
    "line",
    [
        "kmcl serach x.yaml",
        "kmcl search",
        "kmcl search a.yaml --colour",
        "kmcl data import table a.csv b.parquet --x 1",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    ((words, complete),) = commands(f"```\n{line}\n```\n")
    with pytest.raises(click.UsageError):
        check_command(words, complete=complete)


TOP = {
    ".ci", ".gitignore", "Makefile", "README.md", "benchmarks", "cluster.yaml", "deploy", "docs", "jobs", "kmcl_platform",
    "mkdocs.yml", "pyproject.toml", "requirements-docs.lock", "requirements.lock", "search_spaces", "tests",
}  # fmt: skip
"""Everything at the top of the project."""


def test_nothing_that_a_program_left_behind_is_part_of_the_project() -> None:
    """Databases and datasets that a run had written into the current folder were committed twice."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("these files are no git checkout")
    names = [name for name in listed.stdout.decode().split("\0") if name]
    assert {name.partition("/")[0] for name in names} == TOP
    sizes = {name: (ROOT / name).stat().st_size for name in names if (ROOT / name).is_file()}
    assert {name: size for name, size in sizes.items() if size > 700_000} == {}
