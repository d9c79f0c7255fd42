"""One optimizer step: its floating-point type, its gradient clipping, and the check of the weights after it."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import Diverged
from kmcl_platform.training.build import build_loss, build_model
from kmcl_platform.training.device import Precision, choose_precision
from kmcl_platform.training.gradient_shares import TermGradients
from kmcl_platform.training.step import TrainStep, check_weights
from tests.training.trials import ALONE

CLIP = 0.05


@pytest.mark.parametrize("name", ["weight", "running_var"])
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_a_weight_or_a_running_statistic_that_is_not_finite_is_divergence(name: str, value: float) -> None:
    norm = nn.BatchNorm1d(3)
    check_weights(norm, ALONE, step=4)
    norm.state_dict()[name][1] = value
    with pytest.raises(Diverged, match=f"^diverged at step 4: not finite: weights {name}$"):
        check_weights(norm, ALONE, step=4)


def test_a_step_in_float16_is_scaled_clipped_and_measured_like_one_in_float32() -> None:
    torch.manual_seed(0)
    config = TrialConfig().with_values({"data.image_size": 16})
    first = build_model(config, 5)
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    targets = torch.randint(0, 2, (8, 5), dtype=torch.int8)
    moves, shares = [], []
    for dtype in (None, torch.float16):
        model = copy.deepcopy(first)
        precision, gradients = Precision("cpu", dtype), TermGradients(model.head)
        step = TrainStep(
            model,
            build_loss(config.loss),
            torch.optim.SGD(model.parameters(), lr=1.0),
            device=ALONE.device,
            precision=precision,
            gradient_clip_norm=CLIP,
        )
        assert step.scaler.is_enabled() is precision.needs_scaling is (dtype is torch.float16)
        step(images, targets, gradients)
        shares.append(gradients.shares(ALONE))
        ends = zip(model.parameters(), first.parameters(), strict=True)
        moves.append(torch.cat([(end - start).detach().flatten() for end, start in ends]))
    # A learning rate of 1: the step is the clipped gradient. Unscaled gradients would be 65,536 times too long before
    # they are clipped, and then too short.
    assert moves[0].norm() == pytest.approx(CLIP, rel=1e-4)
    assert moves[1].norm() == pytest.approx(CLIP, rel=1e-2)
    assert torch.cosine_similarity(*moves, dim=0) > 0.99
    assert shares[1] == pytest.approx(shares[0], rel=0.02)


def test_bfloat16_is_chosen_only_where_the_gpu_computes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 0)

    def emulated(including_emulation: bool = True) -> bool:
        return including_emulation

    def real(including_emulation: bool = True) -> Any:
        return True

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", emulated)
    assert choose_precision(gpu, mixed=True) == Precision("cuda", torch.float16)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", real)
    assert choose_precision(gpu, mixed=True) == Precision("cuda", torch.bfloat16)
    assert (
        choose_precision(gpu, mixed=False) == choose_precision(torch.device("cuda"), mixed=False) == Precision("cuda")
    )
    assert choose_precision(torch.device("cpu"), mixed=True) == Precision("cpu")
