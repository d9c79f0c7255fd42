"""The losses of plug-ins are tried before anything starts, so that a mistake in one is one line and no failed trial."""

import math
from typing import TYPE_CHECKING

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.errors import ConfigError
from kmcl_platform.plugins.faults.code_errors import CODE_ERRORS, show_error
from kmcl_platform.plugins.loss import Loss
from kmcl_platform.plugins.registry import list_registered

if TYPE_CHECKING:
    from torch import Tensor


def check_losses(file: SearchFile) -> None:
    """Compute each loss of the file's plug-ins on a few made-up images, with the base's options.

    Raises:
        ConfigError: a loss raises an error, or its result is not a finite loss of each image with a gradient.
    """
    for name, module in list_registered(Loss, file.plugins):
        problem = _find_problem(file, name)
        if problem:
            raise ConfigError(f"plugins.{module}: {problem}")


def _find_problem(file: SearchFile, name: str) -> str | None:
    """What is wrong with a loss, in words; None: nothing."""
    import torch

    from kmcl_platform.method.losses.classification import LossShapeError, SumOfSamples

    generator = torch.Generator().manual_seed(0)
    logits_BK = torch.randn(6, 5, generator=generator).requires_grad_()
    targets_BK = torch.randint(-1, 2, (6, 5), generator=generator)
    # An image without labels, and one with all of them.
    targets_BK[0], targets_BK[1] = 0, 1
    positives = (targets_BK == 1).sum(0).tolist()
    try:
        loss = SumOfSamples(
            file.base.loss.component(name).for_labels(positives, len(targets_BK)), f"the loss {name}", 0.0
        )
        value = loss(logits_BK, targets_BK == 1, targets_BK >= 0)
        gradient = torch.autograd.grad(value, logits_BK, allow_unused=True)[0]
    except LossShapeError as error:
        return str(error)
    # The code of a plug-in may raise anything.
    except CODE_ERRORS as error:
        return f"the loss {name} raises {show_error(error)}; valid: no error"
    return _find_bad_number(name, value, gradient)


def _find_bad_number(name: str, value: "Tensor", gradient_BK: "Tensor | None") -> str | None:
    if not math.isfinite(value.item()):
        return f"the loss {name}: got {value.item()} for made-up images; valid: a finite number"
    if gradient_BK is None or not gradient_BK.any():
        return f"the loss {name}: got a gradient of 0 for all logits; valid: a loss that depends on them"
    if not gradient_BK.isfinite().all():
        return f"the loss {name}: got a gradient that is not finite; valid: finite numbers"
    return None
