"""The commands, the files and the Python of the pages, in their order, as a reader runs them.

All pages are run in one folder, one after the other, so a later page finds what an earlier one has made. Three things are
changed. Searches run inline and not on Ray, for which other tests are. Search files become small. The data has the names
that the pages use, but few images.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmcl_platform.plugins.registry import forget_components
from tests.docs.blocks import ROOT, Block, read_blocks
from tests.docs.world import make_small, write_world
from tests.support.command_line import kmcl
from tests.support.session import make_once

pytestmark = [pytest.mark.pages, pytest.mark.takes(90)]

RUN = [
    ROOT / "docs" / name
    for name in (
        "tutorials/own_images.md",
        "data.md",
        "search_file.md",
        "tutorials/reading_a_report.md",
        "archive.md",
        "tutorials/promotion_and_serving.md",
        "models.md",
        "how_to.md",
        "tutorials/own_loss.md",
    )
]
"""The pages that are run. A command on another page is one of theirs."""

RUN_ELSEWHERE = {
    "plan": "tests/integration/test_plan.py",
    "replay": "tests/search/replay/test_replay.py",
    "heavy.yaml": "tests/plugins/test_whole_job.py",
    "ui": "tests/tracking/test_ui_server.py",
}
"""Words of commands that another test runs, because they need Ray, a whole archive or a server."""


@pytest.fixture(scope="module")
def world(small_manifest: Path, initialised_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all pages."""
    return make_once(tmp_path_factory, "pages", lambda root: write_world(root, small_manifest, initialised_database))


@pytest.fixture(scope="module")
def done() -> Iterator[list[list[str]]]:
    """The commands that were run. A page may repeat one of another page."""
    yield []
    forget_components("my_ranking")


# It takes half a minute, and tests/plugins/test_whole_job.py is nearly the same job.
LONG = pytest.mark.long


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[LONG] * (page.stem == "own_loss"), id=page.stem) for page in RUN],
)
def test_a_page_does_what_it_says(
    page: Path, world: Path, done: list[list[str]], small_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    for block in read_blocks(page):
        if not block.why:
            run_block(block, small_manifest, done)


def run_block(block: Block, manifest: Path, done: list[list[str]]) -> None:
    """Write the block's file, or run its Python or its commands."""
    if name := block.file_name():
        Path(name).write_text(block.text)
        if name.endswith(".yaml"):
            make_small(Path(name), manifest)
    elif block.kind == "python":
        # MLflow's own functions look there. In this process, commands before may have set another place.
        environment = os.environ | {"MLFLOW_TRACKING_URI": "sqlite:///kmcl_store/mlflow.db", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", block.text]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, f"{block.text}\n{answer.stderr}"
    elif not block.kind:
        for words in block.commands():
            if words[0] == "kmcl" and RUN_ELSEWHERE.keys().isdisjoint(words):
                run_command(words[1:], manifest, done)


def run_command(words: list[str], manifest: Path, done: list[list[str]]) -> None:
    """Run `kmcl WORDS`, unless a page has done so before."""
    words = [path for word in words for path in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    if words[0] in ("search", "resume", "train") and "--inline" not in words:
        words.append("--inline")
    if words[:2] == ["data", "import"] and words[2] in ("voc", "coco", "chestxray14"):
        words += ["--val-fraction", "0.5"]  # A tenth of a few images is none.
    if words in done:
        return
    done.append(words)
    answer = kmcl(*words)
    assert answer.exit_code == 0, f"kmcl {shlex.join(words)}\n{answer.output}"
    if words[0] == "init":
        make_small(Path("pets.yaml"), manifest)
