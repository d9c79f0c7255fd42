"""TrialConfig: everything that decides what one trial computes, validated once."""

from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from kmcl_platform.config.base import FileScalar as FileScalar, Frozen, OwnName, Scalar as Scalar, describe_error
from kmcl_platform.config.loss_config import LossConfig
from kmcl_platform.config.trial.data_config import DataConfig as DataConfig
from kmcl_platform.config.trial.model_config import ModelConfig as ModelConfig
from kmcl_platform.errors import ConfigError
from kmcl_platform.plugins.augmentation import Augmentation
from kmcl_platform.plugins.component import Component
from kmcl_platform.plugins.registry import find_component, list_components
from kmcl_platform.plugins.source import require_plugin

FORMER_FIELDS: dict[str, Scalar] = {"loss.similarity_per_dimension": False}
"""Fields of older versions, each with the value under which a trial computed what it computes without the field."""

FORMER_DEFAULTS: dict[str, Scalar] = {"loss.kernel_scale": "total"}
"""Fields whose default has changed, each with the value of a record that was written before the field was added."""


class OptimConfig(Frozen):
    """Optimizer, schedule, averaging."""

    optimizer: Literal["adam", "adamw"] = "adam"
    """adam: weight decay is added to the gradient, as released; adamw: it is applied to the weights."""
    lr: float = Field(default=2e-4, gt=0, le=10)
    """Peak learning rate of the one-cycle schedule."""
    head_lr_factor: float = Field(default=1.0, gt=0, le=1000)
    """Learning rate of the head's mean, variance and component layers, divided by that of all other layers."""
    backbone_lr_factor: float = Field(default=1.0, gt=0, le=1000)
    """Learning rate of the backbone, divided by that of the layers after it."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Learning rate of each block of the backbone, divided by that of the block after it. 1: all have the same."""
    weight_decay: float = Field(default=1e-4, ge=0, le=10)
    """Applied to weights that are neither biases nor normalisation parameters."""
    warmup_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of all steps during which the learning rate rises (one-cycle's pct_start)."""
    ema_decay: float = Field(default=0.9997, ge=0, lt=1)
    """Decay of the exponential moving average of the weights. The average is evaluated; 0: the weights themselves."""
    gradient_clip_norm: float | None = Field(default=None, gt=0)
    """Largest global gradient norm; None: not clipped."""
    mixed_precision: bool = True
    """Run the network in bfloat16 or float16 on a GPU; the loss stays in float32. No effect on CPUs."""
    deterministic: bool = False
    """On a GPU, use only operations that give the same numbers each time, which can be slower. On CPUs all do."""
    tf32: bool = False
    """On a GPU, compute matrix products of what stays float32 (the head and the loss; without `mixed_precision` the
    network too) with numbers of 10 binary digits, which is faster. No effect on CPUs."""
    compile: bool = False
    """Compile the backbone with `torch.compile` at the first step. If that fails, the trial goes on without it."""


class TrialConfig(Frozen):
    """One point of a search: with a manifest and a number of workers it decides every number of a trial."""

    plugins: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each plug-in's code, by the plug-in's name. The platform writes it, from `plugins` of the search
    file."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    num_epochs: int = Field(default=8, ge=1, le=10_000)
    """Epochs of a trial that is not stopped early."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the initial weights, the order of the images and their random changes."""
    own: dict[OwnName, FileScalar] = Field(default_factory=dict)
    """The values of a training of your own, by their names (docs/python.md). With them, no other field but
    `num_epochs` and `seed` has a meaning."""

    @classmethod
    def from_record(cls, document: Any) -> "TrialConfig":
        """The configuration in a checkpoint, a registered model or an outbox, also if an older version wrote it.

        A field that has been removed since then is left out if its value changed nothing. A field that was added since
        then has the value that the trial was computed with, also if the default is another one today.

        Raises:
            ValidationError: the document is not a valid configuration; also if a removed field has another value.
        """
        return cls.model_validate(_update_record(document))

    @model_validator(mode="before")
    @classmethod
    def _load_plugins(cls, tree: Any) -> Any:
        # Before the fields are checked: a plug-in's names are valid only when it is loaded.
        plugins = tree.get("plugins") if isinstance(tree, dict) else None
        if isinstance(plugins, dict):
            for name, digest in plugins.items():
                try:
                    require_plugin(str(name), str(digest))
                except ConfigError as error:
                    raise ValueError(str(error)) from None
        return tree

    @model_validator(mode="after")
    def _check_augmented_batches(self) -> "TrialConfig":
        if not self.data.augment_batches:
            return self
        if self.model.backbone_mode == "frozen":
            raise ValueError(
                "data.augment_batches: got true; valid: false with model.backbone_mode frozen, whose features are "
                "computed once"
            )
        if not self.data.augmentation_component.has_batched_form():
            named = [
                name for name in list_components(Augmentation) if find_component(Augmentation, name).has_batched_form()
            ]
            raise ValueError(
                f"data.augment_batches: got true with data.augmentation {self.data.augmentation!r}; valid: false, or "
                f"an augmentation for batches: {', '.join(named)}"
            )
        return self

    @model_validator(mode="after")
    def _check_frozen(self) -> "TrialConfig":
        augmentation, views, mode = self.data.augmentation, self.data.views, self.model.backbone_mode
        augmented = self.data.augmentation_component.changes_images
        if views is not None and (mode != "frozen" or not augmented):
            raise ValueError(
                f"data.views: got {views}; valid: null, or also model.backbone_mode frozen and a data.augmentation"
            )
        if self.data.features is not None and (mode != "frozen" or augmented):
            raise ValueError(
                f"data.features: got {self.data.features!r}; valid: null, or also model.backbone_mode frozen and "
                "data.augmentation none"
            )
        if mode != "frozen" or self.data.features is not None:
            return self
        if augmented and views is None:
            raise ValueError(
                f"data.augmentation: got {augmentation!r}; valid: none with model.backbone_mode frozen, whose features "
                "are computed once, or also data.views, the number of random changes of each image"
            )
        if not self.model.pretrained and self.model.pretrained_file is None:
            raise ValueError(
                "model.backbone_mode: got 'frozen'; valid: finetune, or also model.pretrained or "
                "model.pretrained_file, because random weights that are never trained give no useful features"
            )
        return self

    def code_of(self, component: Component) -> str | None:
        """The SHA-256 of the plug-in's code that has a component. None: the component is the platform's own."""
        return self.plugins.get(type(component).__module__)

    def with_values(self, values: dict[str, Scalar]) -> "TrialConfig":
        """Return a copy with the values at dotted paths replaced.

        Raises:
            ConfigError: a path does not exist or a value is not valid there.
        """
        tree = self.model_dump()
        for path, value in values.items():
            *parents, leaf = path.split(".")
            node: Any = tree
            for parent in parents:
                # An unknown parent is added too: the check of the whole tree below refuses it, and names the valid
                # names.
                node = node.setdefault(parent, {}) if isinstance(node, dict) else {}
            if not isinstance(node, dict):
                raise ConfigError(f"{path}: unknown name; valid: {', '.join(sorted(self.flat()))}")
            node[leaf] = value
        try:
            # All values again, not only the new ones: some are invalid only together, such as weights that are all 0.
            return TrialConfig.model_validate(tree)
        except ValidationError as error:
            raise ConfigError(describe_error(error, TrialConfig)) from None

    def flat(self) -> dict[str, Scalar]:
        """Every value under its dotted path, in the order of the fields; of an own training only those that count."""
        pairs = _flatten("", self.model_dump())
        counts = ("num_epochs", "seed")
        return {path: value for path, value in pairs if not self.own or path.startswith("own.") or path in counts}

    def value(self, path: str) -> Scalar:
        """The value at a dotted path.

        Raises:
            KeyError: the path does not name a value.
        """
        return self.flat()[path]


def _update_record(document: Any) -> Any:
    """A copy without the removed fields that have the value in `FORMER_FIELDS`, and with `FORMER_DEFAULTS`."""
    if not isinstance(document, dict):
        return document
    current = {name: dict(part) if isinstance(part, dict) else part for name, part in document.items()}
    for path, value in FORMER_FIELDS.items():
        part, name = path.split(".")
        if isinstance(current.get(part), dict) and current[part].get(name) is value:
            del current[part][name]
    for path, value in FORMER_DEFAULTS.items():
        part, name = path.split(".")
        if isinstance(current.get(part), dict):
            current[part].setdefault(name, value)
    return current


def _flatten(prefix: str, tree: dict[str, Any]) -> list[tuple[str, Scalar]]:
    pairs: list[tuple[str, Scalar]] = []
    for name, value in tree.items():
        path = f"{prefix}.{name}" if prefix else name
        pairs += _flatten(path, value) if isinstance(value, dict) else [(path, value)]
    return pairs
