"""Reload parity: the logged model, loaded in a new process, gives the same scores as the trained one."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.model.model_input import input_columns
from kmcl_platform.registry.model.predictor import Predictor
from kmcl_platform.registry.model.schema import RAW_SCORES, SCORE_PREFIX

NUM_IMAGES = 32
_SECONDS = 600
_SCRIPT = f"""
import sys, pandas, mlflow.pyfunc
model = mlflow.pyfunc.load_model(sys.argv[1])
model.predict(pandas.read_parquet(sys.argv[2]), params={{{RAW_SCORES!r}: True}}).to_parquet(sys.argv[3])
"""


def reference_scores(
    device: torch.device, scores_NK: np.ndarray, inputs: Sequence[bytes | np.ndarray], on_cpu: Callable[[], Predictor]
) -> np.ndarray:
    """The scores of some images by the trained model on a CPU, before calibration.

    Args:
        device: on which the trained model has scored them already.
        scores_NK: those scores. Of a GPU they are not used: it rounds differently for each size of a batch.
        inputs: N encoded images; features_D for a model that takes no images.
        on_cpu: gives the trained model on the CPU.
    """
    return scores_NK if device.type == "cpu" else on_cpu().predict(inputs).scores_NK


def measure_parity(
    package: Path, inputs: Sequence[bytes | np.ndarray], expected_NK: np.ndarray, class_names: tuple[str, ...]
) -> float:
    """The largest difference between a score of the loaded model and the same score of the trained one, on the CPU.

    Args:
        package: the model's folder, as MLflow stores it.
        inputs: N encoded images; features_D for a model that takes no images.
        expected_NK: their scores by the trained model on a CPU, before calibration.
        class_names: K names.

    Raises:
        RegistryError: the model cannot be loaded, fails, or takes more than ten minutes.
    """
    with tempfile.TemporaryDirectory() as scratch:
        given, answer = Path(scratch) / "images.parquet", Path(scratch) / "scores.parquet"
        pd.DataFrame(input_columns(inputs)).to_parquet(given)
        # An absolute path, because the process runs in another folder.
        _load_and_predict(package.absolute(), given, answer, Path(scratch))
        table = pd.read_parquet(answer)
    # NaN stays NaN in the maximum, and fails the gate.
    scores_NK = np.stack([table[f"{SCORE_PREFIX}{name}"].to_numpy() for name in class_names], axis=1)
    return float(np.abs(scores_NK - expected_NK).max())


def _load_and_predict(package: Path, given: Path, answer: Path, folder: Path) -> None:
    # The process runs in an empty folder: it must import the code in the package, not that of this checkout.
    command = [sys.executable, "-c", _SCRIPT, str(package), str(given), str(answer)]
    valid = "valid: a model that loads with the packages that are installed here"
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            cwd=folder,
            # Without a GPU: two of them, or two sizes of a batch, do not round alike.
            env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        )
    except subprocess.TimeoutExpired:
        raise RegistryError(
            f"{package}: the logged model gave no scores in a new process within {_SECONDS} s; {valid}"
        ) from None
    if done.returncode:
        # The last line of a traceback is the error itself.
        reason = " ".join((done.stderr.strip().splitlines() or ["no message"])[-1].split())
        raise RegistryError(f"{package}: the logged model cannot be loaded in a new process ({reason}); {valid}")
