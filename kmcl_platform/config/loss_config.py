"""LossConfig: the objective of a trial."""

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from kmcl_platform.config.base import FileScalar, Frozen
from kmcl_platform.config.component_options import fill_options, make_component, require_component
from kmcl_platform.plugins.loss import Loss
from kmcl_platform.plugins.registry import list_components

_NAMES: dict[str, Any] = {"examples": list_components(Loss)}
"""For the completion of editors. Plug-ins have other names."""

KERNEL_PATHS = (
    "loss.temperature",
    "loss.kernel_scale",
    "loss.kernel_start",
    "loss.reconstruction_weight",
    "loss.contrastive_weight",
    "loss.balance",
    "loss.reconstruction_share",
    "loss.contrastive_share",
    "model.kernels_per_class",
    "model.kernel",
    "model.reduced_dim",
    "model.head_start",
    "model.head_input",
)
"""The fields of a trial that have no effect if its loss has no kernel term."""


class LossConfig(Frozen):
    """The objective. Defaults are plain KMCL, with kernel terms that are means over the features."""

    objective: str = Field(default="kmcl", json_schema_extra=_NAMES)
    """kmcl: all three terms. The others are one classification loss alone: asymmetric, bce (binary cross-entropy),
    distribution_balanced, focal, hill, polynomial, two_way, zlpr, or one of a plug-in."""
    classification: str = Field(default="asymmetric", json_schema_extra=_NAMES)
    """The classification loss of `objective: kmcl`: any other of these names."""
    options: dict[str, dict[str, FileScalar]] = Field(default_factory=dict, validate_default=True)
    """Options of objectives, under their names, such as `focal: {gamma: 2}`. Those of the chosen ones are filled in."""
    formulation: Literal["corrected", "released"] = "corrected"
    """corrected: the method as it is meant; released: as the authors' code computes it."""
    temperature: float = Field(default=0.17, gt=0)
    """Temperature τ of the contrastive term."""
    kernel_scale: Literal["per_feature", "total"] = "per_feature"
    """Scale of both kernel terms. per_feature: the logarithms of kernels and similarities are means over the features;
    total: they are sums, as in the paper. `formulation: released` ignores it: its sums are total."""
    asymmetric_weight: float = Field(default=1.0, ge=0)
    """Weight of the classification: the asymmetric loss, or binary cross-entropy with `objective: bce`."""
    reconstruction_weight: float = Field(default=0.1, ge=0)
    """Weight of the reconstruction loss; 0 leaves it out."""
    contrastive_weight: float = Field(default=0.1, ge=0)
    """Weight of the contrastive loss; 0 leaves it out."""
    balance: Literal["weights", "gradient_shares"] = "weights"
    """weights: the kernel terms have the two weights above; gradient_shares: they are rescaled during training, so that
    each has the share below of the gradient norms at the head's input. The two weights are then ignored."""
    reconstruction_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the reconstruction loss; 0 leaves it out. Only with `balance: gradient_shares`."""
    contrastive_share: float = Field(default=0.1, ge=0, lt=1, validate_default=True)
    """Share of the contrastive loss; 0 leaves it out. The classification has the rest, so the sum is below 1."""
    kernel_start: float = Field(default=0.0, ge=0, lt=1)
    """Share of all steps before which the kernel terms are left out. They then rise linearly over as many steps."""
    gamma_positive: float = Field(default=0.0, ge=0, le=16)
    """Focusing exponent of the positive elements of the asymmetric loss."""
    gamma_negative: float = Field(default=4.0, ge=0, le=16)
    """Focusing exponent of the negative elements of the asymmetric loss."""
    clip: float = Field(default=0.05, ge=0, lt=1)
    """Probability margin by which easy negatives are discarded."""
    detach_focusing: bool = True
    """Take the focusing weights without gradient, as released."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share s of uncertainty in each label of the classification: a positive label counts as 1 - s/2, a negative one
    as s/2."""

    @property
    def kernel_weights(self) -> tuple[float, float]:
        """The weights of the reconstruction and the contrastive term; 0: the term is not part of the objective."""
        if not self.uses_kernels:
            return 0.0, 0.0
        if self.balance == "gradient_shares":
            return float(self.reconstruction_share > 0), float(self.contrastive_share > 0)
        return self.reconstruction_weight, self.contrastive_weight

    @property
    def uses_kernels(self) -> bool:
        """Whether the objective has kernel terms, whatever their weights."""
        return self.component(self.objective).kernel_terms

    @property
    def classification_name(self) -> str:
        """The name of the classification loss: that of the objective, or the one beside its kernel terms."""
        return self.classification if self.uses_kernels else self.objective

    def component(self, name: str) -> Loss:
        """The objective of a name, with the options that this trial has for it."""
        return make_component(Loss, name, self.options)

    @field_validator("objective", "classification")
    @classmethod
    def _check_registered(cls, name: str, info: ValidationInfo) -> str:
        component = require_component(Loss, name)
        if info.field_name == "classification" and component.kernel_terms:
            raise ValueError("a classification loss, such as asymmetric")
        return name

    @field_validator("options")
    @classmethod
    def _fill_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        chosen = [info.data[field] for field in ("objective", "classification") if field in info.data]
        return fill_options(Loss, options, chosen)

    @field_validator("balance", "contrastive_share", "kernel_start")
    @classmethod
    def _check_with_other_fields(cls, value: Any, info: ValidationInfo) -> Any:
        # A field that is itself invalid is missing in `others`, and has its own message.
        others = info.data
        match info.field_name, value:
            case "balance", "gradient_shares":
                if others.get("formulation") == "released":
                    raise ValueError("weights, because loss.formulation is released")
                if others.get("asymmetric_weight") == 0:
                    raise ValueError("weights, because loss.asymmetric_weight is 0: shares are relative to its term")
            case "contrastive_share", share if share + others.get("reconstruction_share", 0.0) >= 1:
                rest = 1 - others["reconstruction_share"]
                raise ValueError(f"a number below {rest:g}, because loss.reconstruction_share has the other part of 1")
            case "kernel_start", start if start > 0 and others.get("asymmetric_weight") == 0:
                raise ValueError("0, because loss.asymmetric_weight is 0: no term would be left before the start")
        return value

    @property
    def has_kernel_terms(self) -> bool:
        """Whether the loss has a kernel term: the reconstruction or the contrastive one."""
        return sum(self.kernel_weights) > 0

    @model_validator(mode="after")
    def _check_smoothing(self) -> "LossConfig":
        name = self.classification_name
        if self.label_smoothing and not self.component(name).linear_in_labels:
            raise ValueError(
                f"label_smoothing: got {self.label_smoothing:g}; valid: 0, because the loss {name} compares labels "
                "with one another"
            )
        return self

    @model_validator(mode="after")
    def _check_some_weight(self) -> "LossConfig":
        if self.asymmetric_weight + sum(self.kernel_weights) == 0:
            raise ValueError("a weight above 0 for at least one term of the objective")
        return self
