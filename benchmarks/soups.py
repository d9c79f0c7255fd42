"""Several trials of a search as one model: the mean of their scores compared with the mean of their weights.

    python -m benchmarks.soups --store STORE --searches NAME [NAME ...] [--size 3]

For each search its best trials whose checkpoints were kept, as `kmcl promote --ensemble` takes them: mAP of each on
`val` and `test`, of their ensemble, and of one network with the mean of their weights ("model soup"). The weights are
averaged where all members have the same tensors; the others are those of the best trial. They were trained from the
same start, so that averaging is possible. `bn`: the statistics of batch normalisation are computed again on `train`.
"""

import argparse
from copy import deepcopy
from pathlib import Path

# Sets the number of threads, before torch is imported.
from benchmarks.plain_loop import mean_average_precision

# isort: split
import torch
from safetensors.torch import load_file
from torch import nn

from kmcl_platform.config.store import Store, open_store
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.method.networks.ensemble import EnsembleModel
from kmcl_platform.method.networks.model import KmclModel
from kmcl_platform.registry.model.predictor import Predictor
from kmcl_platform.registry.promotion.members import Member, choose_members
from kmcl_platform.registry.promotion.split_scores import open_split, score_images
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.training.build import build_model
from kmcl_platform.training.checkpoints.checkpoint_folder import AVERAGE

BATCH = 256


def read_network(member: Member) -> KmclModel:
    """The averaged weights of a trial that was fine-tuned."""
    network = build_model(member.state.config, len(member.state.class_names), pretrained=False)
    network.load_state_dict(load_file(member.checkpoint / AVERAGE))
    return network


def average(networks: list[KmclModel]) -> KmclModel:
    """One network with the mean of the weights that all have."""
    soup = deepcopy(networks[0])
    states = [one.state_dict() for one in networks]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0)
        for name, tensor in states[0].items()
        if tensor.is_floating_point() and all(name in one and one[name].shape == tensor.shape for one in states)
    }
    soup.load_state_dict(states[0] | mean)
    return soup


@torch.no_grad()
def recompute_statistics(network: KmclModel, predictor: Predictor, manifest: Manifest) -> KmclModel:
    """A copy whose batch normalisation has the statistics of the training images."""
    fresh = deepcopy(network)
    for module in fresh.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
    fresh.train()
    images = open_split(predictor, manifest, "train")
    for first in range(0, len(images) - BATCH + 1, BATCH):
        batch, _ = images.__getitems__(list(range(first, first + BATCH)))
        fresh(batch)
    return fresh


def measure(store: Store, search: str, size: int) -> list[str]:
    """Lines of the table for one search."""
    members = choose_members(store, read_leaderboard(store, search), size=size)
    config, names = members[0].state.config, members[0].state.class_names
    manifest = open_manifest(config.data.source, store.data)
    networks = [read_network(one) for one in members]

    def score(model: KmclModel | EnsembleModel) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        predictor = Predictor(model, config, names, torch.device("cpu"))
        found = {split: score_images(predictor, manifest, split) for split in ("val", "test")}
        return {
            split: (torch.from_numpy(one.scores_NK).double(), torch.from_numpy(one.targets_NK))
            for split, one in found.items()
        }

    def line(what: str, scores: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> str:
        values = [mean_average_precision(scores_NK.logit(), targets_NK) for scores_NK, targets_NK in scores.values()]
        return f"| {search} | {what} | {values[0]:.4f} | {values[1]:.4f} |"

    single = [score(network) for network in networks]
    probabilities = {
        split: (torch.stack([one[split][0] for one in single]).mean(0), targets_NK)
        for split, (_, targets_NK) in single[0].items()
    }
    soup = average(networks)
    reader = Predictor(soup, config, names, torch.device("cpu"))
    return [
        *(line(f"trial {one.row.number}", scores) for one, scores in zip(members, single, strict=True)),
        line("mean of the logits", score(EnsembleModel(networks))),
        line("mean of the probabilities", probabilities),
        line("mean of the weights", score(soup)),
        line("mean of the weights, bn", score(recompute_statistics(soup, reader, manifest))),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--searches", nargs="+", required=True)
    parser.add_argument("--size", type=int, default=3)
    options = parser.parse_args()
    print("| search | model | val/mAP | test/mAP |\n|---|---|---|---|")
    for search in options.searches:
        for text in measure(open_store(options.store), search, options.size):
            print(text, flush=True)


if __name__ == "__main__":
    main()
