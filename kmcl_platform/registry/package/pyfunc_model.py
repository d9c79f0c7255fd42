"""The registered model: MLflow runs this file when it loads one ("models from code": nothing is pickled)."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from kmcl_platform.errors import DataError
from kmcl_platform.registry.model.model_input import read_images
from kmcl_platform.registry.model.prediction_table import to_columns
from kmcl_platform.registry.model.predictor import Predictor, read_predictor
from kmcl_platform.registry.model.schema import RAW_SCORES


class KmclPythonModel(PythonModel):
    """Images in, labels, probabilities, uncertainties and decisions out."""

    _predictor: Predictor

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights from the model's artifacts."""
        self._predictor = read_predictor(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Score images.

        Args:
            context: MLflow's; unused.
            model_input: N rows with one of these columns: `image`, encoded bytes; `path`, an image file; `array`,
                pixels, uint8, height x width x 3 (in JSON nested lists). When served, paths are refused unless the
                server was started with `KMCL_PATHS_FROM`, and are then counted from that folder and below it alone.
            params: `raw_scores`: true for scores before calibration.

        Returns:
            N rows; `labels` (the names of all classes that are predicted, joined by `|`, most probable first), a
            calibrated probability in [0, 1] for each class (`score: NAME`), if the model's kernels were trained an
            uncertainty in [0, 1) for each class (`uncertainty: NAME`), and whether it is predicted (`decision: NAME`):
            its score is above its threshold.

        Raises:
            MlflowException: the input is none of these, or an image cannot be read; a server answers with status 400.
        """
        try:
            scores_NK, uncertainties_NK = self._predictor.predict(read_images(model_input))
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        raw_scores = bool((params or {}).get(RAW_SCORES, False))
        names, rule = self._predictor.class_names, self._predictor.rule
        return pd.DataFrame(to_columns(names, rule, scores_NK, uncertainties_NK, raw_scores=raw_scores))


set_model(KmclPythonModel())
