"""ModelConfig: the network of a trial."""

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from kmcl_platform.config.base import FileScalar, Frozen
from kmcl_platform.config.component_options import fill_options, make_component, require_component
from kmcl_platform.plugins.backbone import CustomBackbone
from kmcl_platform.plugins.head import Head
from kmcl_platform.plugins.registry import list_components

_HEADS: dict[str, Any] = {"examples": list_components(Head, built_in=True)}
"""For the completion of editors. Plug-ins have other names."""


class ModelConfig(Frozen):
    """The network: a timm backbone and a head."""

    backbone: str = "test_resnet"
    """Any timm model name, or a backbone of a plug-in."""
    backbone_options: dict[str, dict[str, FileScalar]] = Field(default_factory=dict, validate_default=True)
    """Options of backbones of plug-ins, under their names. Those of the chosen one are filled in."""
    pretrained: bool = False
    """Start from timm's published weights (needs the hub or a filled cache)."""
    pretrained_file: str | None = None
    """Start from the backbone's weights in this local file; `pretrained` is then ignored. It is a `*.safetensors`, or a
    PyTorch file with tensors only, such as `*.pth`. Images are normalised as for timm's weights of the backbone."""
    head: str = Field(default="kernel_mixture", json_schema_extra=_HEADS)
    """What computes the logits. kernel_mixture: KMCL's head; linear: one linear layer; ml_decoder: timm's ML-Decoder on
    the feature map; or one of a plug-in. With other heads than KMCL's, the kernels have a part of their own, if the
    objective has kernel terms."""
    head_options: dict[str, dict[str, FileScalar]] = Field(default_factory=dict, validate_default=True)
    """Options of heads, under their names, such as `ml_decoder: {groups: 20}`. Those of the chosen one are filled
    in."""
    kernels_per_class: int = Field(default=1, ge=1, le=64)
    """C: exponential kernels in each class's mixture; 1 is plain KMCL."""
    kernel: Literal["isotropic", "anisotropic", "mahalanobis", "rbf"] = "isotropic"
    """isotropic: a scalar mean and variance for each kernel; anisotropic: one for each dimension of the reduced
    features; both with the Bhattacharyya similarity. mahalanobis, rbf: as anisotropic and isotropic, but all kernels of
    an image share its variance."""
    reduced_dim: int = Field(default=128, ge=1, le=65536)
    """Features of the kernels `anisotropic` and `mahalanobis`, after a learned linear map; other kernels ignore it."""
    head_start: Literal["released", "scaled"] = "released"
    """Initial weights of the kernels' means and variances. released: the authors'; scaled: the same size of means and
    variances for any number of features, with variances near their lower bound."""
    head_input: Literal["raw", "normalised"] = "raw"
    """Features for means, variances and component weights, and for the distance of kernels. normalised: mean 0 and
    variance 1 over the features of each image. The logits always use the raw features."""
    sync_batch_norm: bool = False
    """Batch normalisation over the images of all workers instead of each worker's own."""
    backbone_mode: Literal["finetune", "frozen"] = "finetune"
    """finetune: the backbone is trained too. frozen: its pretrained weights stay; its features are computed once, are
    kept in the store for all trials, and a trial trains only what follows them."""
    feature_dtype: Literal["float32", "float16"] = "float32"
    """How the features of a frozen backbone are kept; float16 takes half the space."""
    projection_width: int | None = Field(default=None, ge=1, le=65536)
    """Width of a hidden layer (linear, layer normalisation, ReLU) between the backbone and the rest. None: no such
    layer. With a frozen backbone, the features that the kernel terms shape can move only if there is one."""

    @property
    def custom_backbone(self) -> CustomBackbone | None:
        """The backbone of a plug-in, with its options. None: it is one of timm's."""
        if self.backbone not in list_components(CustomBackbone):
            return None
        return make_component(CustomBackbone, self.backbone, self.backbone_options)

    @property
    def head_component(self) -> Head:
        """The head, with its options."""
        return make_component(Head, self.head, self.head_options)

    @field_validator("head")
    @classmethod
    def _check_head(cls, name: str) -> str:
        require_component(Head, name)
        return name

    @field_validator("backbone_options")
    @classmethod
    def _fill_backbone_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        # timm's networks have no options here; whether timm has a network is known only when it is built.
        chosen = info.data.get("backbone")
        return fill_options(CustomBackbone, options, [chosen] if chosen in list_components(CustomBackbone) else [])

    @field_validator("head_options")
    @classmethod
    def _fill_head_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return fill_options(Head, options, [info.data["head"]] if "head" in info.data else [])

    @model_validator(mode="after")
    def _check_feature_map(self) -> "ModelConfig":
        if self.backbone_mode == "frozen" and self.head_component.takes_feature_map:
            raise ValueError(
                f"head: got {self.head!r}; valid: a head that takes no feature map, such as linear, or also "
                "model.backbone_mode finetune, because the features of a frozen backbone are kept without their places"
            )
        return self
