"""Paths of a space that change nothing in any trial: searching them spends the budget on noise."""

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import NamedTuple

from kmcl_platform.config.loss_config import KERNEL_PATHS
from kmcl_platform.config.space.distributions import Choice, Distribution
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import ConfigError


class _Rule(NamedTuple):
    paths: tuple[str, ...]
    has_effect: Callable[[TrialConfig], bool]
    """Whether these paths change anything in a trial of this configuration."""
    needed: str
    """The value with which they do."""


def _has_own_loss(trial: TrialConfig) -> bool:
    """Whether the loss is that of a plug-in, which may read any field of `loss`."""
    return trial.code_of(trial.loss.component(trial.loss.classification_name)) is not None


_RULES = (
    _Rule(KERNEL_PATHS, lambda trial: trial.loss.uses_kernels or _has_own_loss(trial), "loss.objective: kmcl"),
    _Rule(
        ("loss.reconstruction_weight", "loss.contrastive_weight"),
        lambda trial: trial.loss.balance == "weights",
        "loss.balance: weights",
    ),
    _Rule(
        ("loss.reconstruction_share", "loss.contrastive_share"),
        lambda trial: trial.loss.balance == "gradient_shares",
        "loss.balance: gradient_shares",
    ),
    _Rule(("loss.kernel_scale",), lambda trial: trial.loss.formulation == "corrected", "loss.formulation: corrected"),
    _Rule(
        ("model.reduced_dim",),
        lambda trial: trial.model.kernel in ("anisotropic", "mahalanobis"),
        "model.kernel: anisotropic",
    ),
    _Rule(
        ("loss.gamma_positive", "loss.gamma_negative", "loss.clip", "loss.detach_focusing"),
        lambda trial: trial.loss.classification_name == "asymmetric" or _has_own_loss(trial),
        "loss.classification: asymmetric",
    ),
    _Rule(
        ("optim.backbone_lr_factor", "optim.layer_decay"),
        lambda trial: trial.model.backbone_mode == "finetune",
        "model.backbone_mode: finetune",
    ),
    _Rule(
        ("data.image_size", "data.background", "model.backbone", "model.pretrained"),
        lambda trial: trial.data.features is None,
        "data.features: null",
    ),
)

_DECIDING = (
    "loss.objective",
    "loss.classification",
    "loss.balance",
    "loss.formulation",
    "model.kernel",
    "model.backbone_mode",
    "data.features",
)
"""The paths that the rules look at."""


def find_dead_path(base: TrialConfig, space: Mapping[str, Distribution]) -> str | None:
    """Why a path of the space should not be searched, in words; None: each changes something in some trial."""
    # In an own training, the fields of the platform have no meaning.
    if base.own:
        return None
    for path, distribution in space.items():
        for rule in _RULES:
            if path not in rule.paths:
                continue
            trials = list(_trials(base, space, distribution))
            if trials and not any(rule.has_effect(trial) for trial in trials):
                return f"space.{path}: it changes nothing in any trial; valid: not to search it, or {rule.needed}"
    return None


def _trials(base: TrialConfig, space: Mapping[str, Distribution], searched: Distribution) -> Iterator[TrialConfig]:
    """A trial for each combination of the values that decide, under the conditions of one path."""
    choices = {path: space[path] for path in _DECIDING if path in space}
    values = {path: d.choices for path, d in choices.items() if isinstance(d, Choice)}
    values |= {path: (value,) for path, value in searched.when.items()}
    for combination in product(*values.values()):
        try:
            yield base.with_values(dict(zip(values, combination, strict=True)))
        # Some combinations may be impossible; `check_every_edge` refuses those that a trial can have.
        except ConfigError:
            continue
