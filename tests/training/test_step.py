"""The check of the weights after a step."""

import pytest
import torch
from torch import nn

from kmcl_platform.errors import Diverged
from kmcl_platform.training.step import check_weights
from tests.training.trials import ALONE


@pytest.mark.parametrize("name", ["weight", "running_var"])
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_a_weight_or_a_running_statistic_that_is_not_finite_is_divergence(name: str, value: float) -> None:
    norm = nn.BatchNorm1d(3)
    check_weights(norm, ALONE, step=4)
    norm.state_dict()[name][1] = value
    with pytest.raises(Diverged, match=f"^diverged at step 4: not finite: weights {name}$"):
        check_weights(norm, ALONE, step=4)
