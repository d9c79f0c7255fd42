"""The process that loads a logged model again: a failure, or a load without end, gives an error of one line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.model.predictor import Prediction
from kmcl_platform.registry.promotion import reload_parity
from kmcl_platform.registry.promotion.reload_parity import measure_parity, reference_scores

VALID = "valid: a model that loads with the packages that are installed here"


def measure(package: Path) -> float:
    return measure_parity(package, [b"image"], np.array([[0.25, 0.75]], dtype=np.float32), ("a", "b"))


def test_a_process_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload_parity, "_SECONDS", 0.2)
    monkeypatch.setattr(reload_parity, "_SCRIPT", "import time\ntime.sleep(600)")
    with pytest.raises(RegistryError) as caught:
        measure(tmp_path / "package")
    assert str(caught.value) == (
        f"{tmp_path}/package: the logged model gave no scores in a new process within 0.2 s; {VALID}"
    )


def test_the_last_line_of_an_error_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload_parity, "_SCRIPT", "raise ValueError('no such\\nbackbone')")
    with pytest.raises(RegistryError) as caught:
        measure(tmp_path / "package")
    assert str(caught.value) == (
        f"{tmp_path}/package: the logged model cannot be loaded in a new process (backbone); {VALID}"
    )


SCORES = """
import os, pandas, sys
assert os.environ["CUDA_VISIBLE_DEVICES"] == "", "the model would be on a GPU"
scores = {"score: a": [0.25], "score: b": [%s]}
assert pandas.read_parquet(sys.argv[2])["image"].tolist() == [b"image"]
pandas.DataFrame(scores).to_parquet(sys.argv[3])
"""


@pytest.mark.parametrize("score", [0.75, 0.7, float("nan")])
def test_the_largest_difference_of_a_score_is_given(
    score: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload_parity, "_SCRIPT", SCORES % f"float('{score}')")
    assert measure(tmp_path) == pytest.approx(abs(score - 0.75), nan_ok=True)


def test_scores_of_a_gpu_are_compared_by_the_same_model_on_the_cpu() -> None:
    class OnCpu:
        def predict(self, images: list[bytes]) -> Prediction:
            return Prediction(np.full((len(images), 2), 0.5, dtype=np.float32), None)

    # Half precision and larger batches: far more than the tolerance of the gate.
    of_gpu = np.full((1, 2), 0.502, dtype=np.float32)
    found = reference_scores(torch.device("cuda", 0), of_gpu, [b"image"], OnCpu)  # type: ignore[arg-type]
    assert found.tolist() == [[0.5, 0.5]]
    of_cpu = reference_scores(torch.device("cpu"), of_gpu, [b"image"], OnCpu)  # type: ignore[arg-type]
    assert of_cpu is of_gpu
