"""Pretrained weights of timm's networks, from a local file, the hub's cache or the hub itself."""

from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import timm
from huggingface_hub import HfApi, try_to_load_from_cache
from timm.models import PretrainedCfg, get_pretrained_cfg, load_state_dict
from torch import Tensor, nn

HUB_SECONDS = 10.0
"""The time limit of the first request. The hub's own client retries for most of a minute before it fails."""

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""The files of a repository that hold weights, in the order in which timm tries them."""


class WeightsFileError(ValueError):
    """A file that does not hold the weights of the network."""


class HubError(ValueError):
    """The hub has no weights of the network, or cannot be reached."""


def load_network(name: str, file: Path, **options: Any) -> nn.Module:
    """A network without its classifier, with the weights of a local file.

    The file is read in the way in which timm reads the files that it publishes. Tensor names of the original authors'
    code are translated. The weights may be inside a training state (`state_dict`, `model`, or an average of them). The
    classifier may have any number of classes, or be missing. All other names must match exactly.

    Args:
        name: a timm model name.
        file: `*.safetensors`, or a PyTorch file of tensors alone. Reading it runs no code from the file.
        options: of the network, for timm.

    Raises:
        WeightsFileError: the file does not exist, cannot be read, or holds another network's weights.
    """
    valid = _valid_file(name)
    tensors = _read_tensors(file, valid)
    published = _published(name)
    refusal: Exception | None = None
    # timm compares names strictly only if the network has the file's number of classes; otherwise it ignores names that
    # do not match, and the network keeps random weights. If the file's classifier has a name that timm must translate
    # first, its number of classes is unknown: then no classifier is tried, and after it the published number.
    for num_classes in [found] if (found := _count_classes(published, tensors)) else [0, published.num_classes]:
        # `state_dict` replaces timm's download. Some published files have a class for the background, which timm cuts
        # off by `label_offset`; this file's classifier has exactly `num_classes` rows, so the offset is 0.
        overlay = {"state_dict": tensors, "num_classes": num_classes, "label_offset": 0}
        try:
            network = timm.create_model(
                name, pretrained=True, num_classes=num_classes, pretrained_cfg_overlay=overlay, **options
            )
        except Exception as error:  # timm's name translations fail in many ways on other files
            refusal = refusal or error
            continue
        # The configuration keeps a reference to all tensors, which every copy of the network would copy too.
        cast(dict[str, Any], network.pretrained_cfg).pop("state_dict")
        if num_classes:
            cast(Any, network).reset_classifier(0)
        return network
    assert refusal is not None
    raise WeightsFileError(f"got {file}: not the weights of {name} ({_short(refusal)}); valid: {valid}")


def load_weights(network: nn.Module, name: str, file: Path) -> None:
    """Load a local file into a network that is not timm's; all names must match.

    Raises:
        WeightsFileError: as `load_network`.
    """
    valid = _valid_file(name)
    tensors = _read_tensors(file, valid)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsFileError(f"got {file}: not the weights of {name} ({_short(error)}); valid: {valid}") from None


def _valid_file(name: str) -> str:
    return f"a local file of {name}'s weights: *.safetensors, or a PyTorch file of tensors alone"


def _read_tensors(file: Path, valid: str) -> dict[str, Tensor]:
    if not file.is_file():
        what = "a folder" if file.is_dir() else "no such file"
        raise WeightsFileError(f"got {file}: {what}; valid: {valid}")
    try:
        # timm takes averaged weights before raw ones. Without `weights_only` an older timm runs code from the file.
        tensors = load_state_dict(str(file), weights_only=True)
    except Exception as error:  # unpickling and safetensors raise many kinds of errors
        raise WeightsFileError(
            f"got {file}: cannot be read as tensors alone ({_short(error)}); valid: {valid}"
        ) from None
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise WeightsFileError(f"got {file}: does not hold a network's tensors; valid: {valid}")
    # Else each trial would diverge at its first step.
    for name, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise WeightsFileError(f"got {file}: {name} has values that are not finite; valid: {valid}")
    return tensors


def fetch_network(name: str, **options: Any) -> nn.Module:
    """A network without its classifier, with the weights that timm publishes, from the local cache or the hub.

    Args:
        name: a timm model name.
        options: of the network, for timm.

    Raises:
        HubError: timm publishes no such weights, or the hub cannot be reached.
    """
    published = _published(name)
    if not published.has_weights:
        raise HubError(f"timm publishes no weights of {name}")
    repository = published.hf_hub_id
    try:
        if repository:
            # The hub's client sends a request even for a cached file, and fails without a network.
            if cached := _find_cached(published, repository):
                with suppress(WeightsFileError):  # some cached files have a form that only timm's own path can read
                    return load_network(name, cached, **options)
            # This small request fails within its time limit. timm's download has none, and would retry for most of a
            # minute.
            HfApi().model_info(repository, timeout=HUB_SECONDS)
        return timm.create_model(name, pretrained=True, num_classes=0, **options)
    except Exception as error:  # the client raises errors of several HTTP libraries
        raise HubError(f"the weights of {name} cannot be fetched from the hub ({_short(error)})") from None


def _published(name: str) -> PretrainedCfg:
    """The configuration of the weights that timm publishes under a name; an empty one if there are none."""
    return get_pretrained_cfg(name) or PretrainedCfg()


def _find_cached(published: PretrainedCfg, repository: str) -> Path | None:
    # These weights have a format or a file name of their own, which only timm's download handles.
    if published.custom_load or published.hf_hub_filename:
        return None
    found = (try_to_load_from_cache(repository, file) for file in HUB_FILES)
    # Besides a path and None, the cache can return a marker object: the hub is known not to have this file.
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _count_classes(published: PretrainedCfg, tensors: dict[str, Tensor]) -> int:
    """The number of classes of the classifier in the file; 0 without a classifier of the published name."""
    named = published.classifier or ()
    for classifier in (named,) if isinstance(named, str) else named:
        if (weight := tensors.get(f"{classifier}.weight")) is not None and weight.ndim:
            return len(weight)
    return 0


def _short(error: Exception) -> str:
    # torch lists every name that does not match. The first sentence is enough for a message of one line.
    text = f"{type(error).__name__}: {' '.join(str(error).split()).split('. ')[0]}"
    return text if len(text) <= 160 else f"{text[:160]}…"
