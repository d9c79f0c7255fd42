"""The registered model: MLflow runs this file to load it ("models from code"), so that nothing is pickled."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from kmcl_platform.errors import DataError
from kmcl_platform.registry.model.model_folder import read_predictor
from kmcl_platform.registry.model.model_input import read_features, read_images
from kmcl_platform.registry.model.predictor import Predictor
from kmcl_platform.registry.model.schema import RAW_SCORES


class KmclPythonModel(PythonModel):
    """Labels images: gives labels, probabilities, entropies and decisions."""

    _predictor: Predictor

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights from the model's artifacts."""
        self._predictor = read_predictor(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Score images.

        Args:
            context: MLflow's; unused.
            model_input: N rows with one of these columns: `image`, encoded bytes; `path`, an image file; `array`,
                pixels, uint8, height x width x 3 (nested lists in JSON). A server refuses paths unless it was started
                with `KMCL_PATHS_FROM=FOLDER`; it then reads files in that folder only, and paths are relative to it.
                A model that was made from features takes one column only: `features`, a list of numbers in each row.
            params: `raw_scores`: true for scores before calibration.

        Returns:
            N rows: `labels` (the names of all predicted classes, joined by `|`, the most probable first), and for each
            class `score: NAME` (calibrated probability, in [0, 1]), `entropy: NAME` (of that probability, in bits, in
            [0, 1]), `uncertainty: NAME` (of the kernels, in [0, 1); only if promotion measured that it finds wrong
            decisions) and `decision: NAME` (whether its calibrated score is above its threshold).

        Raises:
            MlflowException: the input has another form, or an image cannot be read; a server answers with status 400.
        """
        try:
            read = read_features if self._predictor.takes_features else read_images
            prediction = self._predictor.predict(read(model_input))
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        raw_scores = bool((params or {}).get(RAW_SCORES, False))
        return pd.DataFrame(self._predictor.to_columns(prediction, raw_scores=raw_scores))


set_model(KmclPythonModel())
