"""The code blocks of the pages in docs/: what a reader would write into files, run, or see."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

_BLOCK = re.compile(
    r"^(?:<!-- not run by the tests[^:]*: (?P<why>.*?) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```", re.S | re.M
)
_PAGE = re.compile(r"\A# .*\n\n<!-- not run by the tests: (.*?) -->\n")


@dataclass(frozen=True)
class Block:
    """One code block.

    Attributes:
        kind: the word after the backticks. Empty: commands of a shell; `text`: what a command prints.
        text: the block without its fences.
        why: why the tests do not run it, as the comment before the block or below the title says. Empty: they run it.
    """

    kind: str
    text: str
    why: str

    def file_name(self) -> str:
        """The name in the block's first line (`# NAME.py`), if the block is a file that the reader writes; or empty."""
        found = re.match(r"# ([\w.]+\.(?:py|yaml))\n", self.text)
        return found[1] if found else ""

    def commands(self) -> list[list[str]]:
        """The words of each command, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def read_blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    whole = _PAGE.match(text)
    for found in _BLOCK.finditer(text):
        yield Block(found["kind"], found["text"], found["why"] or (whole[1] if whole else ""))
