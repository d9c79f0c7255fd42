"""Images per second of one core, from 500x375 JPEGs on the disk to batches of 224x224 pixels.

    python -m benchmarks.loader

Seven ways to read the same files, in one process with one thread. They alternate, so that a busy machine slows all of
them equally:

    bare decoder   read and decode at full size, nothing else: the upper limit
    ours           ImageDataset and its loader, as a trial uses them
    torchvision    ImageFolder, Pillow, torchvision's transforms, default collation
    both           again with the released augmentation: Cutout and RandAugment
    ours, in batches   again, with `data.augment_batches`
    ours, cached   `data.cache: pixels`, without augmentation, after the first epoch

The photographs are crops of scikit-learn's two sample images, with quality 90 (about 70 kB each).
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader
from torchcodec.decoders import decode_jpeg
from torchvision import transforms
from torchvision.datasets import ImageFolder

from kmcl_platform.components.augmentations.released import Released
from kmcl_platform.data.augmentation.augmented_batches import AugmentedBatches
from kmcl_platform.data.augmentation.single_images import cutout
from kmcl_platform.data.loading.dataset import ImageDataset
from kmcl_platform.data.loading.loader import Batches, build_loader
from kmcl_platform.data.loading.pixel_cache import open_pixel_cache
from kmcl_platform.data.loading.samplers import ShardedSequence
from kmcl_platform.data.loading.transforms import EvalTransform, TrainTransform
from kmcl_platform.data.manifest.manifest import build_manifest

SIZE = 224
BATCH_SIZE = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, for red, green and blue."""


def write_photographs(folder: Path, count: int) -> list[Path]:
    """Write `count` different 500x375 JPEGs into a folder with one class, as ImageFolder requires."""
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    paths = []
    for number in range(count):
        picture = pictures[number % len(pictures)]
        left, top = (int(rng.integers(spare + 1)) for spare in (picture.width - 500, picture.height - 375))
        path = folder / "photographs" / f"{number:04d}.jpg"
        path.parent.mkdir(exist_ok=True)
        picture.crop((left, top, left + 500, top + 375)).save(path, quality=90)
        paths.append(path)
    return paths


def pil_cutout(image: Image.Image) -> Image.Image:
    """Cutout for Pillow images."""
    return Image.fromarray(cutout(np.array(image), 0.5))


def usual_loader(folder: Path, augmentation: list[Callable[..., object]]) -> DataLoader[object]:
    """The pipeline of most training scripts."""
    steps = [
        transforms.Resize((SIZE, SIZE)),
        *augmentation,
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    return DataLoader(ImageFolder(str(folder), transforms.Compose(steps)), batch_size=BATCH_SIZE)


def our_loader(paths: list[Path], transform: EvalTransform | TrainTransform, *, cached: bool = False) -> Batches:
    """The pipeline of a trial."""
    manifest = build_manifest(
        name="photographs",
        version="1",
        class_names=["photograph"],
        splits=["train"] * len(paths),
        images=[str(path) for path in paths],
        targets=np.ones((len(paths), 1), dtype=np.int8),
    )
    cache = None
    if cached:
        cache = open_pixel_cache(manifest, "train", size=SIZE, background="white", at_least=None)
    dataset = ImageDataset(manifest, "train", transform, cache=cache)
    return build_loader(
        dataset,
        ShardedSequence(len(dataset), rank=0, world_size=1),
        batch_size=BATCH_SIZE,
        drop_last=False,
        processes=0,
        pin_memory=False,
    )


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def exhaust(loader: Batches | DataLoader[object]) -> None:
    for _ in loader:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    # The result is images per second of one core.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        paths = write_photographs(folder, options.images)
        released = [transforms.Lambda(pil_cutout), transforms.RandAugment(num_ops=2, magnitude=9)]
        usual, usual_augmented = usual_loader(folder, []), usual_loader(folder, released)
        ours = our_loader(paths, EvalTransform(image_size=SIZE))
        augmented = our_loader(paths, TrainTransform(image_size=SIZE, augment=Released().build(), seed=0))
        batched = AugmentedBatches(
            our_loader(paths, TrainTransform(image_size=SIZE, augment=None, seed=0)),
            Released().build_batched(),
            order=range(len(paths)),
            epoch=lambda: 1,
            num_images=len(paths),
            seed=0,
            device=torch.device("cpu"),
        )
        os.environ["KMCL_CACHE"] = str(folder / "cache")
        cached = our_loader(paths, EvalTransform(image_size=SIZE), cached=True)
        ways: dict[str, Callable[[], object]] = {
            "bare decoder": lambda: [decode_jpeg(path.read_bytes()) for path in paths],
            "ours": lambda: exhaust(ours),
            "ours, cached": lambda: exhaust(cached),
            "torchvision": lambda: exhaust(usual),
            "ours, released augmentation": lambda: exhaust(augmented),
            "ours, augmented in batches": lambda: exhaust(batched),
            "torchvision, the same augmentation": lambda: exhaust(usual_augmented),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(options.rounds + 1):
            for name, way in ways.items():
                elapsed = seconds(way)
                if turn:  # the first turn fills caches
                    taken[name].append(elapsed)
    for name in ways:
        print(f"{name:<36}{options.images / statistics.median(taken[name]):7.0f} images/s")

    def ratio(one: str, other: str) -> float:
        # The median of ratios within a turn: other work on the machine slows both in one turn.
        return statistics.median(b / a for a, b in zip(taken[one], taken[other], strict=True))

    print(f"ours / torchvision                  {ratio('ours', 'torchvision'):7.2f}  (aim: 2)")
    print(
        "with the released augmentation      "
        f"{ratio('ours, released augmentation', 'torchvision, the same augmentation'):7.2f}  (aim: 2)"
    )
    print(f"cached / not cached                 {ratio('ours, cached', 'ours'):7.2f}  (aim: 4)")
    print(f"ours / bare decoder                 {ratio('ours', 'bare decoder'):7.2f}  (aim: 0.6)")
    print(
        f"released augmentation / bare decoder{ratio('ours, released augmentation', 'bare decoder'):7.2f}  (aim: 0.6)"
    )


if __name__ == "__main__":
    main()
