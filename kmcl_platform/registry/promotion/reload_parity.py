"""Reload parity: the logged model, loaded afresh in a clean process, gives the scores that it gave in training."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.model.schema import IMAGE_COLUMN, RAW_SCORES, SCORE_PREFIX

NUM_IMAGES = 32
_SECONDS = 600
_SCRIPT = f"""
import sys, pandas, mlflow.pyfunc
model = mlflow.pyfunc.load_model(sys.argv[1])
model.predict(pandas.read_parquet(sys.argv[2]), params={{{RAW_SCORES!r}: True}}).to_parquet(sys.argv[3])
"""


def measure_parity(package: Path, images: list[bytes], expected_NK: np.ndarray, class_names: tuple[str, ...]) -> float:
    """The largest difference of a score.

    Args:
        package: the model's folder, as MLflow keeps it.
        images: N encoded images.
        expected_NK: their scores in training, before calibration.
        class_names: K names.

    Raises:
        RegistryError: the model cannot be loaded, or fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        asked, answer = Path(scratch) / "images.parquet", Path(scratch) / "scores.parquet"
        pd.DataFrame({IMAGE_COLUMN: images}).to_parquet(asked)
        # In a folder of its own: the package brings its code, and shall not find this checkout's.
        command = [sys.executable, "-c", _SCRIPT, str(package.absolute()), str(asked), str(answer)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False, cwd=scratch)
        if done.returncode:
            reason = " ".join((done.stderr.strip().splitlines() or ["no message"])[-1].split())
            raise RegistryError(f"{package}: the logged model cannot be loaded in a clean process: {reason}")
        table = pd.read_parquet(answer)
    scores_NK = np.stack([table[f"{SCORE_PREFIX}{name}"].to_numpy() for name in class_names], axis=1)
    return float(np.abs(scores_NK - expected_NK).max())
