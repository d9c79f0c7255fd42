"""The augmentations of plug-ins are tried before anything starts, so that a mistake is one line and no failed trial.

Legend of shapes: S = image_size pixels.
"""

import numpy as np

from kmcl_platform.config.component_options import make_component
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.errors import ConfigError
from kmcl_platform.plugins.augmentation import Augmentation
from kmcl_platform.plugins.faults.code_errors import CODE_ERRORS, show_error
from kmcl_platform.plugins.registry import list_registered

_DRAWS = 8
"""Times that an augmentation is tried. Each has other random numbers."""


def check_augmentations(file: SearchFile) -> None:
    """Change a made-up image with each augmentation of the file's plug-ins.

    Raises:
        ConfigError: an augmentation raises an error, or a result is no image of the same size.
    """
    for name, module in list_registered(Augmentation, file.plugins):
        augmentation = make_component(Augmentation, name, file.base.data.augmentation_options)
        problem = _find_problem(augmentation, file.base.data.image_size)
        if problem:
            raise ConfigError(f"plugins.{module}: the augmentation {name}{problem}")


def _find_problem(augmentation: Augmentation, size: int) -> str | None:
    """What is wrong with an augmentation, in words; None: nothing."""
    from kmcl_platform.data.augmentation.augmented_batches import check_batched_form
    from kmcl_platform.data.augmentation.single_images import AugmentationResultError, SeededDraws

    pixels_SS3 = np.random.default_rng(0).integers(0, 256, (size, size, 3)).astype(np.uint8)
    try:
        change = augmentation.build()
        keys = [(1, index) for index in range(_DRAWS)]
        SeededDraws(0).apply(change, [pixels_SS3.copy() for _ in keys], keys)
        if augmentation.has_batched_form():
            check_batched_form(augmentation.build_batched(), pixels_SS3, _DRAWS)
    # The code of a plug-in may raise anything.
    except AugmentationResultError as error:
        return f": {error}"
    except CODE_ERRORS as error:
        return f" raises {show_error(error)}; valid: no error"
    return None
