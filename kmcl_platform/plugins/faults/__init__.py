"""What is wrong with the classes and the code of plug-ins, in words."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.plugins.faults.class_check import find_problem_of_class as find_problem_of_class
    from kmcl_platform.plugins.faults.code_errors import (
        code_of as code_of,
        show_error as show_error,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
