"""The model as MLflow and ONNX files."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.registry.package.onnx_export import (
        check_installed as check_installed,
        export_onnx as export_onnx,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
