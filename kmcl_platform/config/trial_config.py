"""TrialConfig: everything that decides what one trial computes, validated once."""

import re
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from kmcl_platform.config.base import FileScalar as FileScalar, Frozen, OwnName, Scalar as Scalar, describe_error
from kmcl_platform.config.loss_config import LossConfig
from kmcl_platform.errors import ConfigError
from kmcl_platform.plugins.source import require_plugin

FORMER_FIELDS: dict[str, Scalar] = {"loss.similarity_per_dimension": False}
"""Fields of older versions, each with the value under which a trial computed what it computes without the field."""

FORMER_DEFAULTS: dict[str, Scalar] = {"loss.kernel_scale": "total"}
"""Fields whose default has changed, each with the value of a record that was written before the field was added."""


class DataConfig(Frozen):
    """Which images, at which size, in which batches."""

    source: str = "digits"
    """Name of an embedded dataset (`digits`), or the path or URI of a manifest (`*.parquet`)."""
    image_size: int = Field(default=40, ge=8, le=2048)
    """Height and width, in pixels, that images are resized to."""
    batch_size: int = Field(default=64, ge=2, le=65536)
    """Images per optimizer step over all workers (the global batch)."""
    background: str = "white"
    """Colour behind the transparent parts of images: white, black, or red, green and blue such as `#7f7f7f`."""
    loader_processes: int = Field(default=0, ge=0, le=64)
    """Processes that decode images for each training worker; 0 decodes in the worker itself."""
    cache: Literal["none", "pixels"] = "none"
    """pixels: each image is decoded and resized once, and kept on the node's disk for all trials that read the same
    images at the same size (docs/data.md). It changes no result."""
    augmentation: Literal["none", "flip", "released", "timm", "torchvision"] = "none"
    """Random changes of training images. flip: horizontal flips; released: the authors' Cutout of half the size and
    RandAugment; timm: its RandAugment with flips; torchvision: its TrivialAugmentWide with flips. The draws of each
    epoch differ."""
    features: str | None = None
    """A file with own features (embeddings), which are used instead of those of a backbone: `*.npy`, or `*.parquet`
    with a column `features`; one row for each row of the manifest, in its order. Needs model.backbone_mode frozen."""
    views: int | None = Field(default=None, ge=1, le=1000)
    """With a frozen backbone: how many random changes of each training image have their features computed. A trial
    takes another one in each epoch, one after another. None: `augmentation` is none."""
    corrupt_images: Literal["error", "skip"] = "error"
    """A training image that cannot be decoded ends the trial, or the next one of the split takes its place and
    `train/skipped_images` counts it. In val and test, and where a file is missing, it is always an error."""

    @field_validator("background")
    @classmethod
    def _check_colour(cls, value: str) -> str:
        # As in `_check_one_value`, the text of a ValueError is what follows `valid:` in the message.
        if not re.fullmatch("white|black|#[0-9a-fA-F]{6}", value):
            raise ValueError("white, black, or a colour such as '#7f7f7f'")
        return value


class ModelConfig(Frozen):
    """The network: a timm backbone and the kernel-mixture head."""

    backbone: str = "test_resnet"
    """Any timm model name."""
    pretrained: bool = False
    """Start from timm's published weights (needs the hub or a filled cache)."""
    pretrained_file: str | None = None
    """Start from the backbone's weights in this local file; `pretrained` is then ignored. It is a `*.safetensors`, or a
    PyTorch file with tensors only, such as `*.pth`. Images are normalised as for timm's weights of the backbone."""
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
    def _check_frozen(self) -> "TrialConfig":
        augmentation, views, mode = self.data.augmentation, self.data.views, self.model.backbone_mode
        if views is not None and (mode != "frozen" or augmentation == "none"):
            raise ValueError(
                f"data.views: got {views}; valid: null, or also model.backbone_mode frozen and a data.augmentation"
            )
        if self.data.features is not None and (mode != "frozen" or augmentation != "none"):
            raise ValueError(
                f"data.features: got {self.data.features!r}; valid: null, or also model.backbone_mode frozen and "
                "data.augmentation none"
            )
        if mode != "frozen" or self.data.features is not None:
            return self
        if augmentation != "none" and views is None:
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
