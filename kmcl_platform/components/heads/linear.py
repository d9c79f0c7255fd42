"""`linear`: one linear layer, as most classifiers have it."""

from typing import TYPE_CHECKING

from pydantic import Field

from kmcl_platform.plugins import Head, register

if TYPE_CHECKING:
    from torch import nn


@register("linear")
class Linear(Head):
    """A linear layer, which begins as the logit layer of `kernel_mixture` does."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the features that are set to 0 at each step of the training."""

    def build(self, num_features: int, num_classes: int) -> "nn.Module":
        from torch import nn

        layer = nn.Linear(num_features, num_classes)
        return nn.Sequential(nn.Dropout(self.dropout), layer) if self.dropout else layer
