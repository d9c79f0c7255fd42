"""Pretrained weights: every kind of file, the hub's cache, and a hub that cannot be reached."""

import os
import pickle
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import HfApi, constants
from safetensors.torch import save_file
from torch import Tensor

from kmcl_platform.method.networks.pretrained import HubError, WeightsFileError, fetch_network, load_network
from kmcl_platform.method.networks.timm_backbone import timm_backbone

NAME = "test_resnet.r160_in1k"


def weights(name: str = NAME, num_classes: int = 7) -> dict[str, Tensor]:
    return dict(timm.create_model(name, num_classes=num_classes).state_dict())


def same(network: torch.nn.Module, tensors: dict[str, Tensor]) -> bool:
    """Whether the network has exactly the tensors, without the classifier's."""
    own = network.state_dict()
    left = {name for name in tensors if name.rpartition(".")[0] not in ("fc", "head.fc")}
    return own.keys() == left and all(torch.equal(own[name], tensors[name]) for name in left)


class RunsCode:
    """An object whose unpickling makes a folder: it shows whether a file's code was run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("num_classes", [7, 1000, 0])
def test_a_safetensors_file_of_any_number_of_classes_is_loaded(num_classes: int, tmp_path: Path) -> None:
    tensors = weights(num_classes=num_classes)
    save_file(tensors, tmp_path / "weights.safetensors")
    backbone = timm_backbone(name=NAME, pretrained=False, pretrained_file=tmp_path / "weights.safetensors")
    assert same(backbone.network, tensors)
    plain = timm_backbone(name=NAME, pretrained=False)
    assert (backbone.num_features, backbone.mean, backbone.std) == (plain.num_features, plain.mean, plain.std)
    images = torch.rand(2, 3, 40, 40)
    plain.network.load_state_dict(backbone.network.state_dict())
    assert torch.equal(backbone.eval()(images), plain.eval()(images))
    # Only the network refers to the weights. Every copy of the network would also copy what another reference names.
    assert not any(isinstance(value, dict) for value in backbone.network.pretrained_cfg.values())


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: {"state_dict": t, "epoch": 3}, lambda t: {"model": t}])
def test_a_pytorch_file_is_loaded_with_and_without_training_state(
    wrap: Callable[[object], object], tmp_path: Path
) -> None:
    tensors = weights()
    torch.save(wrap(tensors), tmp_path / "weights.pth")
    assert same(load_network(NAME, tmp_path / "weights.pth"), tensors)


def test_a_file_with_the_original_names_of_tresnet_is_loaded(tmp_path: Path) -> None:
    tensors = weights("tresnet_m.miil_in21k", 11)
    original = {
        re.sub(r"conv1\.conv\.", "conv1.0.", re.sub(r"conv1\.bn\.", "conv1.1.", name)): tensor
        for name, tensor in tensors.items()
    }
    assert "body.conv1.0.weight" in original
    torch.save({"model": original}, tmp_path / "tresnet_m.pth")
    own = load_network("tresnet_m.miil_in21k", tmp_path / "tresnet_m.pth").state_dict()
    assert torch.equal(own["body.conv1.conv.weight"], tensors["body.conv1.conv.weight"])
    # timm turns the scales of in-place batch normalisation into those of the usual one.
    assert torch.allclose(own["body.conv1.bn.weight"], tensors["body.conv1.bn.weight"].abs() + 1e-5)


def test_a_file_whose_classifier_has_another_name_is_loaded(tmp_path: Path) -> None:
    tensors = weights("test_convnext", 1000)
    translations = [
        (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"^stem\.", "downsample_layers.0."),
        ("conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
        (r"^head\.norm\.", "norm."),
        (r"^head\.fc\.", "head."),
    ]
    original: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for pattern, replacement in translations:
            name = re.sub(pattern, replacement, name)
        original[name] = tensor
    assert "head.weight" in original
    torch.save({"model": original}, tmp_path / "convnext.pth")
    assert same(load_network("test_convnext", tmp_path / "convnext.pth"), tensors)


def write_garbage(path: Path) -> None:
    path.write_bytes(b"hello" * 100)


def write_code(path: Path) -> None:
    torch.save({"a": RunsCode(path.parent / "code_ran")}, path)


def write_plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(RunsCode(path.parent / "code_ran"), protocol=2))


def write_cut_short(path: Path) -> None:
    save_file(weights(), path)
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("write", "file", "message"),
    [
        (lambda path: None, "none.pth", "no such file"),
        (Path.mkdir, "folder.pth", "a folder"),
        (write_garbage, "x.pth", "cannot be read as tensors alone"),
        (write_garbage, "x.safetensors", "cannot be read as tensors alone"),
        (write_cut_short, "x.safetensors", "cannot be read as tensors alone"),
        (write_code, "x.pth", "cannot be read as tensors alone"),
        (write_plain_pickle, "x.pkl", "cannot be read as tensors alone"),
        (lambda path: torch.save({}, path), "x.pth", "does not hold a network's tensors"),
        (lambda path: torch.save({"epoch": 3}, path), "x.pth", "does not hold a network's tensors"),
        (lambda path: save_file(weights("test_byobnet"), path), "x.safetensors", f"not the weights of {NAME}"),
        # A network with one more block: it has all names of the smaller one, with the same shapes.
        (
            lambda path: save_file(weights() | {"layer5.weight": torch.zeros(1)}, path),
            "x.safetensors",
            "not the weights",
        ),
        (
            lambda path: save_file(weights() | {"conv1.weight": torch.full((4,), torch.nan)}, path),
            "x.safetensors",
            "conv1.weight has values that are not finite",
        ),
        (lambda path: save_file({"fc.weight": torch.zeros(7, 3)}, path), "x.safetensors", "not the weights"),
    ],
)
def test_a_file_of_anything_else_is_refused(
    write: Callable[[Path], object], file: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / file
    write(path)
    with pytest.raises(WeightsFileError) as caught:
        load_network(NAME, path)
    text = str(caught.value)
    assert text.startswith(f"got {path}: {message}")
    assert text.endswith(
        f"; valid: a local file of {NAME}'s weights: *.safetensors, or a PyTorch file of tensors alone"
    )
    assert "\n" not in text
    assert not (tmp_path / "code_ran").exists()


def test_a_cached_file_needs_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = weights(num_classes=1000)
    repository = tmp_path / "models--timm--test_resnet.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    save_file(tensors, repository / "snapshots" / "abc" / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: pytest.fail("a request went to the hub"))
    assert same(fetch_network(NAME), tensors)


def test_a_hub_that_cannot_be_reached_fails_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, timeout: float, **__: object) -> None:
        assert timeout <= 10
        raise OSError("Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(HfApi, "model_info", away)
    started = time.monotonic()
    message = rf"^the weights of {NAME} cannot be fetched from the hub \(OSError: Name or service not known\)$"
    with pytest.raises(HubError, match=message):
        timm_backbone(name=NAME, pretrained=True)
    assert time.monotonic() - started < 5


def test_a_network_that_was_never_published_has_no_weights() -> None:
    with pytest.raises(HubError, match="^timm publishes no weights of coatnet_0_224$"):
        fetch_network("coatnet_0_224")
