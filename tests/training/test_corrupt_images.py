"""A trial on data with a corrupt image: the image is named in an error, or skipped and counted."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from kmcl_platform.config.reports.epoch_report import SKIPPED_IMAGES, EpochReport
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.loading.samplers import ShardedShuffle
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest, targets_to_numpy
from kmcl_platform.errors import DataError
from kmcl_platform.seeds import derive_seed
from kmcl_platform.training.fit import fit
from kmcl_platform.training.workers.distributed import join_workers
from tests.support.waiting import free_port
from tests.support.worker_processes import run_workers
from tests.training.trials import join, run

CONFIG = TrialConfig().with_values(
    {"data.image_size": 32, "data.batch_size": 16, "model.backbone": "test_byobnet", "num_epochs": 2}
)
SKIP = CONFIG.with_values({"data.corrupt_images": "skip"})


def damaged(*rows: int, num_train: int = 32) -> Manifest:
    """Training mosaics and 16 validation mosaics. The images of the given rows are cut off."""
    digits = build_digits(num_train=num_train, num_val=16, num_test=0)
    encoded = digits.table["bytes"].to_pylist()
    for row in rows:
        encoded[row] = encoded[row][:90]
    return build_manifest(
        name="m",
        version="1",
        class_names=digits.class_names,
        splits=digits.table["split"].to_pylist(),
        images=encoded,
        targets=targets_to_numpy(digits.table["targets"], 10),
    )


def test_by_default_a_corrupt_image_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="^manifest 'm', split 'train', row 5, image 90 bytes: cannot be read"):
        run(CONFIG, damaged(5), tmp_path)


def test_skipped_images_are_counted_each_epoch_and_a_resumed_trial_agrees(tmp_path: Path) -> None:
    # Each epoch leaves out 8 of 40 images, and other ones each time. So the number of corrupt images differs too.
    manifest = damaged(*range(0, 40, 3), num_train=40)
    sampler = ShardedShuffle(40, rank=0, world_size=1, seed=derive_seed(SKIP.seed, "order"))
    expected = []
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        expected.append(sum(index % 3 == 0 for index in list(sampler)[:32]))
    whole = run(SKIP, manifest, tmp_path / "whole")
    assert [report.metrics[SKIPPED_IMAGES] for report in whole] == expected
    run(SKIP, manifest, tmp_path / "parted", stop_after=1)
    resumed = run(SKIP, manifest, tmp_path / "parted")
    assert [dict(report.metrics) for report in resumed] == [dict(report.metrics) for report in whole]


def test_skipping_changes_no_number_without_corrupt_images(tmp_path: Path) -> None:
    usual = run(CONFIG, damaged(), tmp_path / "usual", stop_after=1)[0].metrics
    skipping = run(SKIP, damaged(), tmp_path / "skipping", stop_after=1)[0].metrics
    assert dict(skipping) == {**usual, SKIPPED_IMAGES: 0}
    assert SKIPPED_IMAGES not in usual


def test_validation_never_skips(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="^manifest 'm', split 'val', row 3, image 90 bytes: cannot be read"):
        run(SKIP, damaged(35), tmp_path)


def train(rank: int, port: int, folder: str) -> None:
    join(rank, 2, port)
    counts: list[float] = []

    def report(result: EpochReport) -> bool:
        counts.append(result.metrics[SKIPPED_IMAGES])
        return True

    fit(SKIP, damaged(5, 6, 20), checkpoints=Path(folder) / "trial", report=report, workers=join_workers())
    if rank == 0:
        torch.save(counts, Path(folder) / "counts.pt")
    dist.destroy_process_group()


@pytest.mark.story
def test_two_workers_count_together(tmp_path: Path) -> None:
    run_workers(train, 2, free_port(), str(tmp_path))
    assert torch.load(tmp_path / "counts.pt", weights_only=True) == [3, 3]
