"""The registered model: MLflow runs this file when it loads one ("models from code": nothing is pickled)."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from kmcl_platform.registry.predictor import Predictor, read_predictor
from kmcl_platform.registry.schema import IMAGE_COLUMN, LABELS_COLUMN, SCORE_PREFIX, THRESHOLD, UNCERTAINTY_PREFIX


class KmclPythonModel(PythonModel):
    """Encoded images in, labels, probabilities and uncertainties out."""

    _predictor: Predictor

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights from the model's artifacts."""
        self._predictor = read_predictor(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Score images.

        Args:
            context: MLflow's; unused.
            model_input: N rows; column `image` holds encoded image bytes.
            params: unused.

        Returns:
            N rows; `labels` (the names of all classes with a probability of at least 0.5, joined by `|`, most probable
            first), a probability in [0, 1] for each class (`score: NAME`) and, if the model's kernels were trained, an
            uncertainty in [0, 1) for each class (`uncertainty: NAME`).
        """
        scores_NK, uncertainties_NK = self._predictor.predict(list(model_input[IMAGE_COLUMN]))
        names = self._predictor.class_names
        labels = []
        for scores_K in scores_NK:
            order = [k for k in scores_K.argsort()[::-1] if scores_K[k] >= THRESHOLD]
            labels.append("|".join(names[k] for k in order))
        columns = {f"{SCORE_PREFIX}{name}": scores_NK[:, k].astype(float) for k, name in enumerate(names)}
        if uncertainties_NK is not None:
            for k, name in enumerate(names):
                columns[f"{UNCERTAINTY_PREFIX}{name}"] = uncertainties_NK[:, k].astype(float)
        return pd.DataFrame({LABELS_COLUMN: labels, **columns})


set_model(KmclPythonModel())
