"""Networks: a timm backbone, its pretrained weights, and the whole model (docs/method.md, Head)."""

from kmcl_platform.method.networks.backbone import Backbone
from kmcl_platform.method.networks.model import KmclModel, ModelOutput
from kmcl_platform.method.networks.pretrained import HubError, WeightsFileError, fetch_network, load_network

__all__ = [
    "Backbone",
    "HubError",
    "KmclModel",
    "ModelOutput",
    "WeightsFileError",
    "fetch_network",
    "load_network",
]
