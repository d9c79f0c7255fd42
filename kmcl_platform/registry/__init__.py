"""Registered models: promotion, calibration, the package, prediction."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.registry.calibration.error import (
        expected_calibration_error as expected_calibration_error,
    )
    from kmcl_platform.registry.calibration.fit_decision_rule import (
        fit_rule as fit_rule,
    )
    from kmcl_platform.registry.model.decision_rule import (
        DecisionRule as DecisionRule,
        default_rule as default_rule,
    )
    from kmcl_platform.registry.model.error_detection import (
        ErrorDetection as ErrorDetection,
        binary_entropy as binary_entropy,
    )
    from kmcl_platform.registry.model.load import (
        load_registered as load_registered,
        predict_images as predict_images,
    )
    from kmcl_platform.registry.model.model_folder import (
        read_predictor as read_predictor,
        write_model as write_model,
    )
    from kmcl_platform.registry.model.predictor import (
        Prediction as Prediction,
    )
    from kmcl_platform.registry.model.registry_errors import (
        registry_errors as registry_errors,
    )
    from kmcl_platform.registry.model.schema import (
        DECISION_PREFIX as DECISION_PREFIX,
        ENTROPY_PREFIX as ENTROPY_PREFIX,
        SCORE_PREFIX as SCORE_PREFIX,
        UNCERTAINTY_PREFIX as UNCERTAINTY_PREFIX,
    )
    from kmcl_platform.registry.model.versions import (
        download_package as download_package,
    )
    from kmcl_platform.registry.package.onnx_export import (
        check_installed as check_installed,
        export_onnx as export_onnx,
    )
    from kmcl_platform.registry.promotion.alias_moves import (
        read_history as read_history,
        rollback as rollback,
    )
    from kmcl_platform.registry.promotion.promote import (
        promote as promote,
    )
    from kmcl_platform.registry.promotion.split_scores import (
        score_images as score_images,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
