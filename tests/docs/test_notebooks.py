"""The notebooks in docs/notebooks: their links lead somewhere, and their cells run, with smaller searches."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kmcl_platform.data.manifest.parquet import read_manifest
from tests.docs.blocks import ROOT
from tests.docs.run_notebook import read_cells

FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SMALLER = {
    "first_search": {"NUM_EPOCHS, NUM_TRIALS = 3, 6": "NUM_EPOCHS, NUM_TRIALS = 1, 4", '"digits",': '"MANIFEST",'},
    "own_loss": {
        "NUM_EPOCHS, NUM_TRIALS = 3, 5": "NUM_EPOCHS, NUM_TRIALS = 1, 3",
        "source: digits": "source: MANIFEST",
    },
    "reading_an_archive": {"SEARCHES = 50": "SEARCHES = 3", "../../benchmarks": str(ROOT / "benchmarks")},
}
"""What the tests replace in each notebook, so that it takes seconds. MANIFEST is a few hundred digits."""


def test_each_notebook_is_run_smaller() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(SMALLER)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_somewhere(notebook: Path) -> None:
    text = "".join(line for cell in read_cells(notebook, "markdown") for line in cell["source"])
    targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)", text)
    assert targets
    assert [target for target in targets if not (FOLDER / target).resolve().is_relative_to(ROOT)] == []
    assert [target for target in targets if not (FOLDER / target).exists()] == []


@pytest.mark.pages
@pytest.mark.takes(60)
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_cells_run(notebook: Path, small_manifest: Path, initialised_database: Path, tmp_path: Path) -> None:
    # MLflow takes seconds to make the tables of a new store. A search of the whole digits writes the samples.
    for name in ("first_store", "ranking_store"):
        samples = tmp_path / name / "data" / "digits_samples"
        samples.mkdir(parents=True)
        (samples / "digits-test-0000_labels-0-4.png").write_bytes(
            read_manifest(small_manifest).encoded_image("test", 0)
        )
        shutil.copy(initialised_database, tmp_path / name / "mlflow.db")
    changes = [
        text.replace("MANIFEST", str(small_manifest)) for pair in SMALLER[notebook.stem].items() for text in pair
    ]
    command = [sys.executable, "-m", "tests.docs.run_notebook", str(notebook), *changes]
    environment = os.environ | {"MPLBACKEND": "agg", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
