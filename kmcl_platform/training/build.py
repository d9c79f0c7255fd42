"""Builds the objects of a trial from its configuration. No other module builds them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from kmcl_platform.config.loss_config import LossConfig
from kmcl_platform.config.trial_config import ModelConfig, TrialConfig
from kmcl_platform.data.loading.dataset import ImageDataset
from kmcl_platform.data.loading.pixel_cache import open_pixel_cache
from kmcl_platform.data.loading.to_rgb import parse_colour
from kmcl_platform.data.loading.transforms import EvalTransform, TrainTransform, Transform
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.errors import ConfigError, WeightsError
from kmcl_platform.method.kernels.mixture_head import KernelMixtureHead
from kmcl_platform.method.losses.classification import ClassificationLoss, SumOfSamples
from kmcl_platform.method.losses.global_batch import BatchGather
from kmcl_platform.method.losses.kmcl import KmclLoss
from kmcl_platform.method.networks.backbone import Backbone
from kmcl_platform.method.networks.logit_head import LogitHead
from kmcl_platform.method.networks.model import KmclModel
from kmcl_platform.method.networks.pretrained import HubError, WeightsFileError, load_weights
from kmcl_platform.method.networks.timm_backbone import ImageSizeError, timm_backbone
from kmcl_platform.plugins.backbone import CustomBackbone
from kmcl_platform.seeds import derive_seed


def build_backbone(config: TrialConfig) -> Backbone:
    """Build the backbone, with the pretrained weights that the configuration names.

    Raises:
        ConfigError: there is no such backbone, it cannot take images of this size, or it gives no feature map, which
            the head takes.
        WeightsError: its pretrained weights cannot be loaded.
    """
    model, image_size = config.model, config.data.image_size
    file = None if model.pretrained_file is None else Path(model.pretrained_file).expanduser()
    feature_map = model.head_component.takes_feature_map
    custom = model.custom_backbone
    try:
        if custom is not None:
            return _build_custom(custom, model, image_size, file)
        return timm_backbone(
            name=model.backbone,
            pretrained=model.pretrained,
            pretrained_file=file,
            image_size=image_size,
            feature_map=feature_map,
        )
    # These errors are ValueErrors too, so they come before ValueError.
    except WeightsFileError as error:
        raise WeightsError(f"model.pretrained_file: {error}") from None
    except HubError as error:
        raise WeightsError(
            f"model.pretrained: got true, but {error}; valid: where the hub cannot help, a local file of the weights "
            "in model.pretrained_file; model.pretrained: false begins with random weights"
        ) from None
    except ImageSizeError as error:
        raise ConfigError(f"data.image_size: {error}") from None
    except ValueError as error:
        raise ConfigError(f"model.backbone: {error}") from None


def _build_custom(component: CustomBackbone, config: ModelConfig, image_size: int, file: Path | None) -> Backbone:
    network = component.build(image_size, config.pretrained and file is None)
    if file is not None:
        load_weights(network, config.backbone, file)
    return Backbone(
        network,
        name=config.backbone,
        num_features=cast(int, network.num_features),
        mean=component.mean,
        std=component.std,
        feature_map=config.head_component.takes_feature_map,
    )


def without_pretrained(config: TrialConfig) -> TrialConfig:
    """A copy that does not load pretrained weights, because others replace them: without the hub and without a file."""
    # Not checked again: a frozen backbone needs pretrained weights, and gets them from elsewhere.
    model = config.model.model_copy(update={"pretrained": False, "pretrained_file": None})
    return config.model_copy(update={"model": model})


def build_model(
    config: TrialConfig, num_classes: int, *, pretrained: bool = True, num_features: int | None = None
) -> KmclModel:
    """Build the network, initialised from torch's global random state.

    Args:
        config: the trial.
        num_classes: K, at least 1.
        pretrained: load the pretrained weights that the configuration names. False if the weights of a checkpoint or a
            registered model replace them: that must work without the hub and without the file.
        num_features: build a model without a backbone, which takes so many features instead of images. None: build the
            whole model, also if the backbone is frozen.

    Raises:
        ConfigError, WeightsError: as `build_backbone`.
    """
    model = config.model
    if num_features is None:
        backbone: Backbone | int = build_backbone(config if pretrained else without_pretrained(config))
    else:
        backbone = num_features
    width = model.projection_width or (backbone if isinstance(backbone, int) else backbone.num_features)
    head = build_head(model, width, num_classes, kernel_terms=config.loss.uses_kernels)
    return KmclModel(backbone, head, projection_width=model.projection_width)


def build_head(
    config: ModelConfig, num_features: int, num_classes: int, *, kernel_terms: bool
) -> KernelMixtureHead | LogitHead:
    """Build the head.

    Args:
        config: the network's part of a trial's configuration.
        num_features: D, of the backbone or the projection.
        num_classes: K.
        kernel_terms: the objective has kernel terms, so a head without kernels gets some beside it.
    """
    component = config.head_component
    # These kernels have a mean and a variance for each feature, so the features are reduced first.
    reduced = config.kernel in ("anisotropic", "mahalanobis")

    def build_kernels() -> KernelMixtureHead:
        return KernelMixtureHead(
            num_features=config.reduced_dim if reduced else num_features,
            num_classes=num_classes,
            kernels_per_class=config.kernels_per_class,
            kernel=config.kernel,
            start=config.head_start,
            input=config.head_input,
            with_logits=component.makes_kernels,
        )

    if component.makes_kernels:
        return build_kernels()
    return LogitHead(
        component.build(num_features, num_classes),
        num_features=num_features,
        num_classes=num_classes,
        kernels=build_kernels() if kernel_terms else None,
    )


class LabelCounts(NamedTuple):
    """How frequent the labels of a training split are.

    Attributes:
        positives_K: number of images with each label.
        num_images: of the split.
    """

    positives_K: Sequence[int]
    num_images: int


def build_classification(config: LossConfig, labels: LabelCounts | None = None) -> ClassificationLoss:
    """Build the classification loss of a trial's objective.

    Args:
        config: the loss's part of a trial's configuration.
        labels: of the training split. None: only for losses that do not depend on them.
    """
    name = config.classification_name
    component = config.component(name)
    if built := component.classification(config):
        return built
    loss = component.loss if labels is None else component.for_labels(list(labels.positives_K), labels.num_images)
    return SumOfSamples(loss, f"the loss {name}", config.label_smoothing)


def build_loss(
    config: LossConfig,
    labels: LabelCounts | None = None,
    *,
    gather: BatchGather | None = None,
    max_labels: int | None = None,
) -> KmclLoss:
    """Build the loss.

    Args:
        config: the loss's part of a trial's configuration.
        labels: as for `build_classification`.
        gather: joins the batches of all workers. None: one worker.
        max_labels: upper bound of the positive labels per image. None: they are counted for each batch; the host then
            waits for a GPU.
    """
    # A baseline keeps the configured weights, which it does not use.
    weights = (config.reconstruction_weight, config.contrastive_weight)
    reconstruction_weight, contrastive_weight = config.kernel_weights if config.uses_kernels else weights
    return KmclLoss(
        objective="kmcl" if config.uses_kernels else "asymmetric",
        classification=build_classification(config, labels),
        formulation=config.formulation,
        temperature=config.temperature,
        asymmetric_weight=config.asymmetric_weight,
        reconstruction_weight=reconstruction_weight,
        contrastive_weight=contrastive_weight,
        kernel_scale=config.kernel_scale,
        gather=gather,
        max_labels=max_labels,
    )


def augmentation_seed(config: TrialConfig) -> int:
    """A seed for this purpose alone: its draws are unrelated to those of the weights and of the order of images."""
    return derive_seed(config.seed, "augmentation")


def build_dataset(config: TrialConfig, manifest: Manifest, split: str, *, may_cache: bool = False) -> ImageDataset:
    """Build the dataset of one split: its images are resized, and augmented in the split `train` only.

    Corrupt images are skipped in `train` only, also if the configuration says `skip`: a score of only some images of a
    split cannot be compared with other scores.

    Args:
        config: the trial.
        manifest: the data.
        split: `train`, `val` or `test`.
        may_cache: use the node's cache of pixels if the configuration says so. False for images that are read once.
    """
    data = config.data
    transform: Transform = EvalTransform(image_size=data.image_size)
    augmentation = data.augmentation_component
    if split == "train" and augmentation.changes_images:
        augment = None if data.augment_batches else augmentation.build()
        transform = TrainTransform(image_size=data.image_size, augment=augment, seed=augmentation_seed(config))
    cache = None
    if may_cache and data.cache == "pixels":
        at_least = transform.decode_at_least
        cache = open_pixel_cache(manifest, split, size=data.image_size, background=data.background, at_least=at_least)
    return ImageDataset(
        manifest,
        split,
        transform,
        background=parse_colour(data.background),
        skip_corrupt=data.corrupt_images == "skip" and split == "train",
        cache=cache,
    )
