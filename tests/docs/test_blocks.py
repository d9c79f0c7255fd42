"""Every command in the documents is run by a test, or says why not; every YAML block is a valid part of a search file."""

import json
from pathlib import Path

import pytest

from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.files.yaml_document import read_yaml
from tests.docs.blocks import PAGES, ROOT, read_blocks
from tests.docs.test_pages import RUN, RUN_ELSEWHERE

IDS = [str(path.relative_to(ROOT)) for path in PAGES]
SEARCH = {
    "name": "page",
    "base": {"data": {"image_size": 32, "batch_size": 32}, "num_epochs": 40},
    "space": {"optim.lr": {"kind": "loguniform", "low": 1e-4, "high": 1e-2}},
    "budget": {"trials": 30},
}
"""A search file to which a block of a page is added."""


def commands(page: Path) -> list[list[str]]:
    """The commands of a page, except those that the page says are not run."""
    blocks = [block for block in read_blocks(page) if not block.why and not block.kind]
    return [words for block in blocks for words in block.commands()]


RUN_WORDS = [words for page in RUN for words in commands(page)]
"""The commands of the pages that test_pages.py runs. The same command on another page is not run again."""


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_is_run_or_says_why_not(page: Path) -> None:
    for words in commands(page):
        line = " ".join(words)
        if words[0] == "kmcl":
            assert words in RUN_WORDS or not RUN_ELSEWHERE.keys().isdisjoint(words), f"{page.name}: {line}"
        else:
            assert words[0] == "make" or line.startswith("python -m benchmarks."), f"{page.name}: {line}"


def test_the_tests_that_run_other_commands_exist() -> None:
    for word, file in RUN_ELSEWHERE.items():
        assert f'"{word}"' in (ROOT / file).read_text(), f"{file}: {word}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_yaml_block_is_a_valid_part_of_a_search_file(page: Path) -> None:
    for block in read_blocks(page):
        tree = read_yaml(block.text.encode(), page.name) if block.kind == "yaml" else None
        if not isinstance(tree, dict) or "plugins" in tree:
            continue  # Comments alone, or a file that test_pages.py runs.
        base = SEARCH["base"] | tree.pop("base", {})  # type: ignore[operator]
        parse_search_file(json.dumps(SEARCH | {"base": base} | tree).encode(), page.name)
