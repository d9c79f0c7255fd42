"""Several networks that score together.

Shape suffixes: B batch, K classes.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from kmcl_platform.method.kernels.mixture_head import KernelMixture
from kmcl_platform.method.networks.backbone import Backbone
from kmcl_platform.method.networks.model import KmclModel, ModelOutput


class EnsembleModel(nn.Module):
    """The mean of the logits of several networks, each of which receives the same inputs.

    The kernels of its members are not joined: its mixture has none. Mean logits are the normalised geometric mean of
    the members' probabilities (Hinton, "Training Products of Experts", 2002, section 1). Mean probabilities score alike
    (docs/experiments/ensembles.md).

    Args:
        members: at least one, with the same classes and the same inputs.
    """

    def __init__(self, members: Sequence[KmclModel]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def networks(self) -> list[KmclModel]:
        """Its members."""
        return [cast(KmclModel, one) for one in self.members]

    @property
    def backbone(self) -> Backbone | None:
        """That of the first member."""
        return self.networks[0].backbone

    @property
    def num_inputs(self) -> int:
        """That of the first member."""
        return self.networks[0].num_inputs

    def forward(self, inputs: Tensor) -> ModelOutput:
        """As `KmclModel.forward`; the features are those of the first member."""
        outputs: list[ModelOutput] = [member(inputs) for member in self.networks]
        logits_BK = torch.stack([one.mixture.logits_BK for one in outputs]).mean(0)
        none_BKCR = logits_BK.new_zeros((*logits_BK.shape, 0, 1))
        return ModelOutput(outputs[0].features_BD, KernelMixture(logits_BK, none_BKCR, none_BKCR, none_BKCR[..., 0]))
