"""The registered model as it is used: input, scores, decisions."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.registry.model.decision_rule import (
        DEFAULT_THRESHOLD as DEFAULT_THRESHOLD,
        NEVER as NEVER,
        DecisionRule as DecisionRule,
        calibrate as calibrate,
        default_rule as default_rule,
        to_logits as to_logits,
    )
    from kmcl_platform.registry.model.error_detection import (
        DetectionArea as DetectionArea,
        ErrorDetection as ErrorDetection,
        binary_entropy as binary_entropy,
    )
    from kmcl_platform.registry.model.load import (
        RegisteredModel as RegisteredModel,
        load_registered as load_registered,
        predict_images as predict_images,
    )
    from kmcl_platform.registry.model.model_folder import (
        read_predictor as read_predictor,
        write_model as write_model,
        write_rule as write_rule,
    )
    from kmcl_platform.registry.model.model_input import (
        read_images as read_images,
    )
    from kmcl_platform.registry.model.prediction_table import (
        column_names as column_names,
    )
    from kmcl_platform.registry.model.predictor import (
        BATCH_SIZE as BATCH_SIZE,
        Prediction as Prediction,
        Predictor as Predictor,
        trains_kernels as trains_kernels,
    )
    from kmcl_platform.registry.model.schema import (
        ARRAY_COLUMN as ARRAY_COLUMN,
        DECISION_PREFIX as DECISION_PREFIX,
        ENTROPY_PREFIX as ENTROPY_PREFIX,
        IMAGE_COLUMN as IMAGE_COLUMN,
        LABELS_COLUMN as LABELS_COLUMN,
        PATH_COLUMN as PATH_COLUMN,
        RAW_SCORES as RAW_SCORES,
        SCORE_PREFIX as SCORE_PREFIX,
        TARGET_PREFIX as TARGET_PREFIX,
        UNCERTAINTY_PREFIX as UNCERTAINTY_PREFIX,
        WEIGHTS as WEIGHTS,
    )
    from kmcl_platform.registry.model.versions import (
        CHAMPION as CHAMPION,
        NOT_FOUND as NOT_FOUND,
        PACKAGED_MODEL as PACKAGED_MODEL,
        RUN_TAG as RUN_TAG,
        WEIGHTS_TAG as WEIGHTS_TAG,
        download_package as download_package,
        find_alias as find_alias,
        hash_file as hash_file,
        known_models as known_models,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
