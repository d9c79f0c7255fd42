"""Backbones from timm, by name, at any size of images."""

import difflib
from pathlib import Path
from typing import Any, cast

import timm
from timm.models import get_pretrained_cfg
from torch import nn

from kmcl_platform.method.networks.backbone import Backbone
from kmcl_platform.method.networks.pretrained import fetch_network, load_network


class ImageSizeError(ValueError):
    """The network cannot take images of this size."""


def timm_backbone(
    *,
    name: str,
    pretrained: bool,
    pretrained_file: Path | None = None,
    image_size: int | None = None,
    feature_map: bool = False,
) -> Backbone:
    """Any timm network without its classifier, with the normalisation that timm says.

    Args:
        name: a timm model name, with or without a pretrained tag (`resnet50`, `resnet50.a1_in1k`).
        pretrained: start from the weights that timm publishes, from the hub or its local cache.
        pretrained_file: start from the weights in this local file. `pretrained` is then ignored.
        image_size: height and width of the images. Networks that are built for one size, such as most transformers, are
            built for this one; position embeddings of pretrained weights are interpolated. None: timm's size.
        feature_map: leave out the pooling. The places of the map are those of a grid, or the tokens of a transformer.

    Raises:
        ValueError: timm has no network of that name, and the message lists similar names; or the network gives no
            feature map.
        ImageSizeError: the network cannot take images of this size.
        WeightsFileError: the local file cannot be used.
        HubError: the published weights cannot be fetched.
    """
    _check_name(name)
    options = _size_options(name, image_size)
    if pretrained_file is not None:
        network = load_network(name, pretrained_file, **options)
    elif pretrained:
        network = fetch_network(name, **options)
    else:
        # With `num_classes=0` timm leaves the classifier out: the output of the network is the pooled features.
        network = timm.create_model(name, pretrained=False, num_classes=0, **options)
    if image_size is not None:
        _check_patches(network, name, image_size)
    if feature_map:
        _remove_pooling(network, name)
    # Some networks (MobileNetV3) have a hidden layer before the classifier. Its width differs from `num_features`.
    width = getattr(network, "head_hidden_size", None) or network.num_features
    cfg = cast(dict[str, tuple[float, ...]], network.pretrained_cfg)
    return Backbone(
        network,
        name=name,
        num_features=int(cast(int, width)),
        mean=[float(value) for value in cfg["mean"]],
        std=[float(value) for value in cfg["std"]],
        feature_map=feature_map,
        channels_last=getattr(network, "output_fmt", "NCHW") == "NHWC",
    )


def _check_name(name: str) -> None:
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        hint = f"close names: {', '.join(close)}" if close else "see timm.list_models()"
        raise ValueError(f"name: got {name!r}; valid: a timm model ({hint}), or the name in a plug-in")
    # timm.is_model looks only at the part before the dot, so the tag has a check of its own.
    if "." in name:
        tagged = timm.list_models(f"{name.split('.')[0]}.*", include_tags=True)
        if name not in tagged:
            raise ValueError(f"name: got {name!r}; valid: one of the pretrained tags {', '.join(tagged) or 'none'}")


def _size_options(name: str, image_size: int | None) -> dict[str, Any]:
    """timm's option for the size of images; none, if the network takes any size or has this one."""
    published = get_pretrained_cfg(name)
    if image_size is None or published is None or not published.fixed_input_size:
        return {}
    return {} if published.input_size[-1] == image_size else {"img_size": image_size}


def _check_patches(network: nn.Module, name: str, image_size: int) -> None:
    """Refuse a size of which the patches of a transformer would not cover the last rows and columns."""
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    if isinstance(patch, tuple) and image_size % patch[0]:
        raise ImageSizeError(
            f"got {image_size}; valid: a multiple of {patch[0]}, because {name} divides images into patches"
        )


def _remove_pooling(network: nn.Module, name: str) -> None:
    try:
        # An empty text is timm's name for "no pooling".
        cast(Any, network).reset_classifier(0, "")
    # Each network of timm refuses it in a way of its own.
    except Exception as error:
        raise ValueError(
            f"got {name!r}, which gives no feature map ({type(error).__name__}); valid with this head: another backbone"
        ) from None
