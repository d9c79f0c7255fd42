"""The soak: after many trials on PostgreSQL, MLflow and the study agree on every one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.postgres import PROGRAMS

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.long,
    pytest.mark.takes(120),
    pytest.mark.skipif(not PROGRAMS, reason="needs PostgreSQL's server programs (Debian: postgresql)"),
]


def test_mlflow_and_the_study_agree_on_postgresql(tmp_path: Path) -> None:
    words = ["--work", str(tmp_path / "work"), "--trials", "60", "--epochs", "8", "--at-once", "16", "--postgres"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", *words], cwd=ROOT, env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "MLflow and the study agree on every trial" in done.stdout
