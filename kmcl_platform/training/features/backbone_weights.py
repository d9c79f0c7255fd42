"""The weights of frozen backbones, once each in the store: `backbones/DIGEST.safetensors`.

A checkpoint of a trial with a frozen backbone has the weights of the head only, and the digest of the backbone. So a
trial continues, and is promoted, with the backbone of its own features, also if the file of pretrained weights was
replaced or removed in the meantime.
"""

import hashlib
import time
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import WeightsError
from kmcl_platform.files.atomic_write import make_folder, write_atomically
from kmcl_platform.messages import show_path
from kmcl_platform.method.networks.backbone import Backbone
from kmcl_platform.training.build import build_backbone, without_pretrained

_SETTLED_SECONDS = 2.0
"""A file of weights is read again for each trial until it has not changed for so long."""

_digests: dict[tuple[object, ...], str] = {}
"""Digests of the backbones that this process has built, by what they were built from. It saves most trials of a worker
the time of building the network."""


def store_backbone(config: TrialConfig, folder: Path) -> str:
    """Write the pretrained weights of a backbone into the store, unless they are there.

    Args:
        config: the trial.
        folder: of the store's features.

    Returns:
        The digest of the weights: hexadecimal, of the network's name and of all its tensors.

    Raises:
        ConfigError: timm has no such backbone.
        WeightsError: its pretrained weights cannot be loaded.
        OSError: the folder cannot be written to.
    """
    source, changed = _source(config)
    digest = _digests.get(source)
    if digest is not None and _path(folder, digest).exists():
        return digest
    started = time.time()
    backbone = build_backbone(config)
    digest = _store(config, backbone, folder)
    # Compared again, because the file may have been replaced while it was read.
    if changed < started - _SETTLED_SECONDS and _source(config)[0] == source:
        _digests[source] = digest
    return digest


def load_backbone(config: TrialConfig, digest: str, folder: Path) -> Backbone:
    """The frozen backbone of a trial.

    Args:
        config: the trial.
        digest: of the weights, from `store_backbone`.
        folder: of the store's features. If the weights are missing there, the pretrained ones are loaded again.

    Raises:
        ConfigError: timm has no such backbone.
        WeightsError: the weights are in the store no longer, and the pretrained ones are others now.
        OSError: the folder cannot be written to.
    """
    path = _path(folder, digest)
    if path.exists():
        backbone = build_backbone(without_pretrained(config))
        try:
            backbone.load_state_dict(load_file(path))
        except (RuntimeError, SafetensorError):
            pass
        else:
            if _digest(config, backbone) == digest:
                return backbone
        problem = "was changed"
    else:
        problem = "is missing"
    backbone = build_backbone(config)
    if _digest(config, backbone) != digest:
        raise WeightsError(
            f"{show_path(path)}: {problem}, and the pretrained weights of {config.model.backbone} are others now; "
            "valid: the weights with which the trial began"
        )
    _store(config, backbone, folder)
    return backbone


def join_backbone(config: TrialConfig, digest: str, folder: Path, head: Path, out: Path) -> None:
    """Write the weights of a whole model, which takes images: those of a frozen backbone and those of a trial.

    Args:
        config: the trial.
        digest: of the backbone's weights.
        folder: of the store's features.
        head: the trial's weights, a safetensors file.
        out: the new file.

    Raises:
        WeightsError, OSError: as `load_backbone`.
    """
    backbone = load_backbone(config, digest, folder)
    tensors = {f"backbone.{name}": tensor.contiguous() for name, tensor in backbone.state_dict().items()}
    write_atomically(out, save(tensors | load_file(head)))


def _store(config: TrialConfig, backbone: nn.Module, folder: Path) -> str:
    digest = _digest(config, backbone)
    path = _path(folder, digest)
    # Several processes may do this at the same time: they write the same bytes.
    make_folder(path.parent)
    write_atomically(path, save({name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}))
    return digest


def _path(folder: Path, digest: str) -> Path:
    return folder / "backbones" / f"{digest}.safetensors"


def _digest(config: TrialConfig, backbone: nn.Module) -> str:
    # The name and timm's version, because they decide what the network computes with its weights. For a network of a
    # plug-in these are its code and its options.
    digest = hashlib.sha256(f"{config.model.backbone} {timm.__version__}".encode())
    if (custom := config.model.custom_backbone) is not None:
        digest.update(f"{config.code_of(custom)} {custom.model_dump_json()}".encode())
    for name, tensor in sorted(backbone.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_to_bytes(tensor))
    return digest.hexdigest()


def _to_bytes(tensor: Tensor) -> bytes:
    # Flat first: a tensor without dimensions has no view of bytes.
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _source(config: TrialConfig) -> tuple[tuple[object, ...], float]:
    """What decides a backbone's weights, and when that last changed: the time of the file's inode, 0 without a file."""
    model, custom = config.model, config.model.custom_backbone
    own = None if custom is None else (config.code_of(custom), custom.model_dump_json())
    network = model.backbone, config.data.image_size, own
    if model.pretrained_file is None:
        return (*network, model.pretrained), 0.0
    path = Path(model.pretrained_file).expanduser().absolute()
    try:
        status = path.stat()
    except OSError:
        # `build_backbone` says what is wrong with the file.
        return (*network, str(path)), 0.0
    times = status.st_mtime_ns, status.st_ctime_ns
    return (*network, str(path), status.st_size, status.st_ino, *times), status.st_ctime
