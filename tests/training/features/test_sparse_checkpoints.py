"""A trial on features writes few checkpoints, because its epochs take less time than one."""

from pathlib import Path

import pytest

from kmcl_platform.config.reports.epoch_report import EpochReport
from kmcl_platform.data.manifest.manifest import Manifest
from kmcl_platform.training.checkpoints.checkpoint_folder import checkpoint_epoch, find_checkpoint
from kmcl_platform.training.fit import fit
from tests.training.features.frozen import frozen_config, numbers
from tests.training.trials import ALONE


def test_checkpoints_are_written_where_the_trial_may_end_and_after_some_seconds(
    weights: Path, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = frozen_config(weights, num_epochs=5)

    def epochs_with_one(name: str, stops: list[int] | None) -> list[int]:
        found: list[int] = []

        def report(result: EpochReport) -> bool:
            checkpoint = find_checkpoint(tmp_path / name)
            if checkpoint is not None and checkpoint_epoch(checkpoint) == result.epoch:
                found.append(result.epoch)
            return True

        folder, features = tmp_path / name, tmp_path / "features"
        fit(config, manifest, checkpoints=folder, report=report, workers=ALONE, features=features, stops=stops)
        return found

    assert epochs_with_one("every", None) == [1, 2, 3, 4, 5]
    assert epochs_with_one("rungs", [1, 3]) == [1, 3, 5]
    assert epochs_with_one("never", []) == [5]
    monkeypatch.setattr("kmcl_platform.training.fit.CHECKPOINT_SECONDS", 0.0)
    assert epochs_with_one("slow", [1, 3]) == [1, 2, 3, 4, 5]


def test_a_trial_that_is_killed_between_checkpoints_repeats_epochs_with_the_same_numbers(
    weights: Path, manifest: Manifest, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    def train(kill_at: int) -> list[EpochReport]:
        reports: list[EpochReport] = []

        def report(result: EpochReport) -> bool:
            reports.append(result)
            if result.epoch == kill_at:
                raise Killed
            return True

        folder, features = tmp_path / f"trial-{kill_at > 0}", tmp_path / "features"
        fit(config, manifest, checkpoints=folder, report=report, workers=ALONE, features=features, stops=[2])
        return reports

    config = frozen_config(weights, num_epochs=5)
    whole = train(kill_at=0)
    with pytest.raises(Killed):
        train(kill_at=4)
    checkpoint = find_checkpoint(tmp_path / "trial-True")
    assert checkpoint is not None and checkpoint_epoch(checkpoint) == 2
    resumed = train(kill_at=6)
    assert [report.epoch for report in resumed] == [1, 2, 3, 4, 5]
    assert numbers(resumed) == numbers(whole)
