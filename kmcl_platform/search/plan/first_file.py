"""The first search file for a dataset on a machine: every choice with its reason, as comments."""

import json
import os
import re
import statistics
from dataclasses import dataclass
from pathlib import Path

from kmcl_platform.data.loading.decode import UndecodableError, read_size
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.data.manifest.split_counts import summarise
from kmcl_platform.errors import DataError
from kmcl_platform.messages import count_of, show_path

MOST_CLASSES = 1000
"""More than this many classes are free text in nearly every case."""

_SAMPLE = 100
"""Images whose size is read."""


@dataclass(frozen=True)
class Machine:
    """What trials can use.

    Attributes:
        cpus: CPU cores.
        gpus: GPUs that torch finds.
    """

    cpus: int
    gpus: int


@dataclass(frozen=True)
class DatasetFacts:
    """What the choices depend on.

    Attributes:
        train: images of the split `train`.
        classes: number of classes.
        labels: positive labels of a image, the mean.
        imbalance: positives of the most frequent class, divided by those of the rarest one that has any.
        empty: classes without a positive label in `train`.
        side: the median of the shorter sides, in pixels.
        unknown: whether some labels are unknown.
    """

    train: int
    classes: int
    labels: float
    imbalance: float
    empty: int
    side: int
    unknown: bool


def find_machine() -> Machine:
    """The CPUs and GPUs of this machine."""
    import torch

    return Machine(os.cpu_count() or 1, torch.cuda.device_count())


def measure_dataset(manifest: Manifest) -> DatasetFacts:
    """Look at a manifest: its labels, and the size of some of its images.

    Raises:
        DataError: it has no training images, none that can be read, or so many classes that its labels are free text.
    """
    train = summarise(manifest)["train"]
    classes = len(manifest.class_names)
    once = sum(count <= 1 for count in train.positives)
    if classes > MOST_CLASSES:
        raise DataError(
            f"{manifest.name}: got {classes:,} classes, {once:,} of them on at most one training image; valid: at "
            f"most {MOST_CLASSES:,}. If the labels are free text, choose some with kmcl data import table and --classes"
        )
    if not train.images:
        raise DataError(f"{manifest.name}: split train has no images; valid: at least one")
    sides, problem = [], ""
    # Evenly over the split: the images of a folder are often sorted by source.
    for place in range(0, train.images, max(1, train.images // _SAMPLE)):
        try:
            sides.append(min(read_size(manifest.encoded_image("train", place))))
        except UndecodableError as error:
            # Others say enough about the size; the check of the manifest finds all that are damaged.
            problem = problem or f"{_name_of_image(manifest, place)}: got no image ({error}); valid: an image file"
    if not sides:
        raise DataError(problem)
    positives = [count for count in train.positives if count]
    return DatasetFacts(
        train=train.images,
        classes=classes,
        labels=train.labels_per_image,
        imbalance=max(positives, default=1) / min(positives, default=1),
        empty=classes - len(positives),
        side=int(statistics.median(sides)),
        unknown=train.unknown_labels > 0,
    )


def _name_of_image(manifest: Manifest, place: int) -> str:
    rows = manifest.split("train")
    path = rows["image"][place].as_py() if "image" in rows.column_names and not manifest.packing else None
    return f"{manifest.name}: image {place} of train" if path is None else show_path((manifest.root or Path()) / path)


def search_name(words: str) -> str:
    """A valid name of a search, made of the name of a file or folder."""
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:40] or "my_search"


def first_file(name: str, source: str, facts: DatasetFacts, machine: Machine) -> str:
    """The text of a search file.

    Args:
        name: of the search.
        source: path of the manifest.
        facts: of the data.
        machine: where the search will run.
    """
    gpu = machine.gpus > 0
    # Images are not made larger than they are, and networks halve them five times.
    size = max(64, min(224, facts.side // 32 * 32)) if gpu else 64
    why_size = (
        f"the images have a shorter side of {facts.side}"
        if gpu
        else "there is no GPU: images of twice the size take four times as long"
    )
    batch = next((size for size in (64, 32, 16) if facts.train >= 8 * size), 8)
    epochs = 20 if facts.train < 1000 else 10 if gpu else 6
    backbone, low, high = ("resnet50", "1e-4", "1e-3") if gpu else ("tf_efficientnet_lite0", "1e-3", "4e-3")
    # The geometric mean of the range.
    rate = "3e-4" if gpu else "2e-3"
    loaders = min(8, max(1, machine.cpus - 1)) if gpu else 0
    resources = (
        f"{{workers_per_trial: 1, cpus_per_worker: {min(4, machine.cpus)}, gpus_per_worker: 1}}"
        if gpu
        else "{workers_per_trial: 1, cpus_per_worker: 1}"
    )
    found = (
        f"{count_of(facts.train, 'training image')}, {facts.classes} classes, {facts.labels:.1f} labels a image;\n"
        f"# the most frequent class {facts.imbalance:.0f} times as frequent as the rarest"
    )
    notes = ""
    if facts.empty:
        notes += f"# Classes without a training image, which cannot be learned: {facts.empty}.\n"
    if facts.unknown:
        notes += "# Unknown labels (-1) are in no term of the loss.\n"
    network = "A usual network for a GPU" if gpu else "A small network that learns well on CPUs"
    finalists = "finalists: {trials: 3, seeds: 3}\n" if gpu else "# finalists: {trials: 3, seeds: 3}\n"
    return f"""\
# Written by kmcl init.
# Data: {found}.
# Machine: {count_of(machine.cpus, "CPU")}, {count_of(machine.gpus, "GPU")}.
{notes}# The pages search_fields.md and trial_fields.md of the documentation explain every field.
# Next: kmcl plan says how long the search takes here.

name: {name}
objective: {{metric: val/mAP, mode: maximize}}

# The base is a complete trial, and the first one of the search.
base:
  data:
    source: {json.dumps(source, ensure_ascii=False)}
    # {why_size[0].upper()}{why_size[1:]}.
    image_size: {size}
    # A training needs many steps in an epoch: smaller with few images.
    batch_size: {batch}
    # Processes that decode images{" for the GPU" if gpu else ": none, because the CPUs train"}.
    loader_processes: {loaders}
    # pixels: each image is decoded once, and kept on the disk at its new size{"" if gpu else ": saves little here"}.
    cache: {"pixels" if gpu else "none"}
    augmentation: none
  model:
    # {network}. It starts from ImageNet's weights.
    # Without the hub: pretrained_file: a local file of these weights (*.safetensors or *.pth).
    backbone: {backbone}
    pretrained: true
  loss: {{objective: kmcl, temperature: 0.17, reconstruction_weight: 0.1, contrastive_weight: 0.1}}
  optim: {{optimizer: adamw, lr: {rate}, weight_decay: 1e-4{", mixed_precision: true" if gpu else ""}}}
  # {"Few images need more epochs." if facts.train < 1000 else "More epochs help, and take longer."}
  num_epochs: {epochs}

# What the search tries. zero: true means that a term may also be left out of the loss.
space:
  optim.lr: {{kind: loguniform, low: {low}, high: {high}}}
  loss.reconstruction_weight: {{kind: loguniform, low: 0.01, high: 1, zero: true}}
  loss.contrastive_weight: {{kind: loguniform, low: 0.01, high: 1, zero: true}}
  loss.temperature: {{kind: loguniform, low: 0.05, high: 1}}
  model.kernels_per_class: {{kind: int, low: 1, high: 3}}

# The plain losses at the same recipe are trained first: the search says whether it found something better.
budget: {{trials: 20}}
# Poor trials are stopped early, when the trials of full length show after which epoch their order can be trusted.
scheduler: {{kind: adaptive, reduction_factor: 2}}
resources: {resources}
sampler: {{kind: tpe, startup_trials: 5, seed: 0}}

# The best trials are trained again on new seeds, and the best mean decides. It takes about as long as ten more trials.
{finalists}"""
