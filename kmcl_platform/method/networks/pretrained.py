"""Pretrained weights of timm's networks: from a local file, from the hub's cache, from the hub."""

from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import timm
from huggingface_hub import HfApi, try_to_load_from_cache
from timm.models import PretrainedCfg, get_pretrained_cfg, load_state_dict
from torch import Tensor, nn

HUB_SECONDS = 10.0
"""How long the hub may take to answer at all; its client would try again for most of a minute."""

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""What timm looks for on the hub, in this order."""


class WeightsFileError(ValueError):
    """A file that does not hold the weights of the network."""


class HubError(ValueError):
    """The hub has no weights of the network, or does not give them."""


def load_network(name: str, file: Path) -> nn.Module:
    """A network without its classifier, with the weights of a local file.

    The file is taken as timm takes those that it publishes: names of the original authors' code are translated, and the
    training state around the weights (`state_dict`, `model`, an average of them) is looked through. The classifier may
    be of any number of classes, or missing. Nothing else may be missing or left over.

    Args:
        name: a timm model name.
        file: `*.safetensors`, or a PyTorch file of tensors alone; reading it runs no code.

    Raises:
        WeightsFileError: there is no such file, it cannot be read, or it is not of this network.
    """
    valid = f"a local file of {name}'s weights: *.safetensors, or a PyTorch file of tensors alone"
    if not file.is_file():
        raise WeightsFileError(f"got {file}: no such file; valid: {valid}")
    try:
        tensors = load_state_dict(str(file))
    except Exception as error:  # as many kinds as there are ways to be no such file
        raise WeightsFileError(
            f"got {file}: cannot be read as tensors alone ({_short(error)}); valid: {valid}"
        ) from None
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise WeightsFileError(f"got {file}: does not hold a network's tensors; valid: {valid}")
    published = _published(name)
    refusal: Exception | None = None
    # With as many classes as the file has, timm insists that all names fit; it would be silent about others. Where its
    # classifier has another name, which timm translates, the file is taken for a published one.
    for num_classes in [found] if (found := _count_classes(published, tensors)) else [0, published.num_classes]:
        overlay = {"state_dict": tensors, "num_classes": num_classes, "label_offset": 0}
        try:
            network = timm.create_model(name, pretrained=True, num_classes=num_classes, pretrained_cfg_overlay=overlay)
        except Exception as error:  # timm's translations of names meet files that they do not expect
            refusal = refusal or error
            continue
        # It would be copied with every copy of the network.
        cast(dict[str, Any], network.pretrained_cfg).pop("state_dict")
        if num_classes:
            cast(Any, network).reset_classifier(0)
        return network
    assert refusal is not None
    raise WeightsFileError(f"got {file}: not the weights of {name} ({_short(refusal)}); valid: {valid}")


def fetch_network(name: str) -> nn.Module:
    """A network without its classifier, with the weights that timm publishes; the hub is asked for what is not here.

    Raises:
        HubError: there are no such weights, or the hub cannot be reached.
    """
    published = _published(name)
    if not published.has_weights:
        raise HubError(f"timm publishes no weights of {name}")
    repository = published.hf_hub_id
    try:
        if repository:
            # The hub's client asks the hub even for a file that lies here, and waits for it.
            if cached := _find_cached(published, repository):
                with suppress(WeightsFileError):  # of a form that timm alone knows
                    return load_network(name, cached)
            HfApi().model_info(repository, timeout=HUB_SECONDS)
        return timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # the client has raised errors of three HTTP libraries so far
        raise HubError(f"the weights of {name} cannot be fetched from the hub ({_short(error)})") from None


def _published(name: str) -> PretrainedCfg:
    """What timm knows of the weights that it publishes under a name."""
    return get_pretrained_cfg(name) or PretrainedCfg()


def _find_cached(published: PretrainedCfg, repository: str) -> Path | None:
    if published.custom_load or published.hf_hub_filename:
        return None
    found = (try_to_load_from_cache(repository, file) for file in HUB_FILES)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _count_classes(published: PretrainedCfg, tensors: dict[str, Tensor]) -> int:
    """The classes of the classifier in the file; 0 without one."""
    named = published.classifier or ()
    for classifier in (named,) if isinstance(named, str) else named:
        if (weight := tensors.get(f"{classifier}.weight")) is not None and weight.ndim:
            return len(weight)
    return 0


def _short(error: Exception) -> str:
    text = f"{type(error).__name__}: {' '.join(str(error).split()).split('. ')[0]}"
    return text if len(text) <= 160 else f"{text[:160]}…"
