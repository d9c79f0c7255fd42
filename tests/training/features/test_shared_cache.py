"""Several processes want the same features: they are computed once, and all processes get the same."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from kmcl_platform.data.manifest.parquet import read_manifest
from kmcl_platform.training.features import cache, sources
from kmcl_platform.training.features.backbone_weights import store_backbone
from kmcl_platform.training.features.sources import BackboneSource
from kmcl_platform.training.workers.distributed import join_workers
from tests.support.waiting import free_port
from tests.support.worker_processes import run_workers
from tests.training.features.frozen import frozen_config
from tests.training.features.test_cache import all_features, open_split
from tests.training.trials import join


def race(rank: int, folder: str, manifest: str, weights: str) -> None:
    """Two groups of one worker each, at the same time."""
    torch.set_num_threads(1)
    load = sources.load_backbone

    def slow(*arguments: object) -> object:
        (Path(folder) / f"computed-{rank}").touch()
        return load(*arguments)  # type: ignore[arg-type]

    sources.load_backbone = slow  # type: ignore[assignment]
    found = open_split(frozen_config(Path(weights)), read_manifest(Path(manifest)), Path(folder) / "features")
    torch.save(all_features(found), Path(folder) / f"found-{rank}.pt")


@pytest.mark.story
def test_of_two_groups_one_computes(weights: Path, small_manifest: Path, tmp_path: Path) -> None:
    run_workers(race, 2, str(tmp_path), str(small_manifest), str(weights))
    assert len(list(tmp_path.glob("computed-*"))) == 1
    assert torch.equal(*(torch.load(tmp_path / f"found-{rank}.pt") for rank in (0, 1)))


def share(rank: int, num_workers: int, port: int, folder: str, manifest: str, weights: str) -> None:
    join(rank, num_workers, port)
    config, data = frozen_config(Path(weights)), read_manifest(Path(manifest))
    features = Path(folder) / f"features-{num_workers}"
    digest = join_workers().on_first(lambda: store_backbone(config, features))
    source = BackboneSource(config, data, "val", backbone=digest, folder=features)
    found = cache.open_features(source, join_workers(), features)
    torch.save(all_features(found), Path(folder) / f"{num_workers}-{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.story
def test_the_workers_of_a_group_share_the_computation(weights: Path, small_manifest: Path, tmp_path: Path) -> None:
    """97 images: the second of three workers gets one more than the third in the only batch."""
    for num_workers in (1, 3):
        run_workers(share, num_workers, num_workers, free_port(), str(tmp_path), str(small_manifest), str(weights))
    alone = torch.load(tmp_path / "1-0.pt")
    for rank in range(3):
        assert torch.allclose(torch.load(tmp_path / f"3-{rank}.pt"), alone, atol=1e-5)
