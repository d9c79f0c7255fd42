"""The commands, the files and the Python of each page, in its order, as a reader runs them.

Three things are changed. Searches run inline and not on Ray, which other tests start. Search files become small. The
data has the names in the pages, but few images.
"""

import shlex
import shutil
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, Block, read_blocks
from tests.docs.world import make_small, make_store
from tests.support.command_line import kmcl, kmcl_process
from tests.support.session import make_once
from tests.support.store_copy import copy_store

pytestmark = [pytest.mark.story, pytest.mark.takes(150)]

RUN = {
    ROOT / "docs" / name: store
    for name, store in {
        "tutorials/own_images.md": "",
        "tutorials/own_loss.md": "",
        "tutorials/reading_a_report.md": "searched",
        "tutorials/promotion_and_serving.md": "searched",
        "how_to.md": "promoted",
        "data.md": "",
        "archive.md": "searched",
        "models.md": "promoted",
        "promotion.md": "searched",
        "published_datasets.md": "",
        "record.md": "searched",
        "search_file.md": "",
        "store.md": "searched",
    }.items()
}
"""The pages, each with the store that it begins with: none, one with searches, or one with champions too."""

RUN_ELSEWHERE = {
    "plan": "tests/integration/test_plan.py",
    "replay": "tests/search/replay/test_replay.py",
    "heavy.yaml": "tests/plugins/test_whole_job.py",
    "ui": "tests/tracking/test_ui_server.py",
}
"""Words of commands that another test runs, because they need Ray, a whole archive or a server."""


@pytest.fixture(scope="module")
def made(small_manifest: Path, initialised_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and stores for all pages."""
    return make_once(tmp_path_factory, "pages", lambda folder: make_store(folder, small_manifest, initialised_database))


@pytest.mark.parametrize("page", RUN, ids=[str(page.relative_to(ROOT)) for page in RUN])
def test_a_page_does_what_it_says(
    page: Path,
    made: Path,
    small_manifest: Path,
    initialised_database: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    # A page that begins with nothing makes the files of the others itself.
    source = made / "data"
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    store = tmp_path / "kmcl_store"
    if RUN[page]:
        samples = store / "data"
        samples.rename(tmp_path / "samples")
        store.rmdir()
        copy_store(made / RUN[page], store)
        shutil.copytree(tmp_path / "samples", samples, dirs_exist_ok=True)
    else:
        shutil.copy(initialised_database, store / "mlflow.db")
        for name in ("pets.yaml", "pets.parquet", "former.parquet"):
            (tmp_path / name).unlink()
    for block in read_blocks(page):
        if not block.why:
            run_block(block, small_manifest)


def run_block(block: Block, manifest: Path) -> None:
    if name := block.file_name():
        Path(name).write_text(block.text)
        if name.endswith(".yaml"):
            make_small(Path(name), manifest)
    elif block.kind == "python":
        exec(compile(block.text, "block", "exec"), {})
    elif not block.kind:
        for words in block.commands():
            if words[0] == "kmcl" and words[1] not in RUN_ELSEWHERE:
                run_command(words[1:], manifest)


def run_command(words: list[str], manifest: Path) -> None:
    words = [path for word in words for path in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    if words[0] in ("search", "resume", "train") and "--inline" not in words:
        words.append("--inline")
    if words[:2] == ["data", "import"] and words[2] in ("voc", "coco", "chestxray14"):
        words += ["--val-fraction", "0.5"]  # A tenth of a few images is none.
    # A plug-in stays in its process.
    done = kmcl_process(*words) if Path("my_ranking.py").exists() else kmcl(*words)
    assert done.exit_code == 0, f"kmcl {shlex.join(words)}\n{done.output}"
    if words[0] == "init":
        make_small(Path("pets.yaml"), manifest)
