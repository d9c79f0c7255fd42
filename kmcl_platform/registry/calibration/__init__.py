"""Calibration and thresholds, chosen on validation scores."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.registry.calibration.error import (
        expected_calibration_error as expected_calibration_error,
    )
    from kmcl_platform.registry.calibration.fit_decision_rule import (
        FittedRule as FittedRule,
        fit_rule as fit_rule,
    )
    from kmcl_platform.registry.calibration.measure_error_detection import (
        measure_detection_area as measure_detection_area,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
