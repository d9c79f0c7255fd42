"""A trial continues only from its own checkpoint. Any other is refused in one line, before a report is made."""

import json
from pathlib import Path

import pytest
import torch.distributed as dist

from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.manifest.manifest import Manifest, build_manifest, targets_to_numpy
from kmcl_platform.data.manifest.parquet import read_manifest, write_manifest
from kmcl_platform.errors import CheckpointError
from kmcl_platform.training.checkpoints.checkpoint_folder import (
    AVERAGE,
    MODEL,
    OPTIMIZER,
    TRIAL,
    find_checkpoint,
    keep_average,
)
from kmcl_platform.training.fit import fit
from kmcl_platform.training.workers.distributed import join_workers
from tests.support.waiting import free_port
from tests.support.worker_processes import run_workers
from tests.training.trials import ALONE, join, run

CONFIG = TrialConfig().with_values(
    {"data.image_size": 32, "data.batch_size": 16, "model.backbone": "test_byobnet", "num_epochs": 2}
)
ADVICE = "; valid: move this folder away, and the trial begins again with its first epoch"


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return build_digits(num_train=32, num_val=16, num_test=8)


@pytest.fixture
def trained(manifest: Manifest, tmp_path: Path) -> Path:
    """The folder of a trial that was interrupted after its first epoch."""
    folder = tmp_path / "trial-0003"
    run(CONFIG, manifest, folder, stop_after=1)
    return folder


def refusal(config: TrialConfig, manifest: Manifest, folder: Path) -> str:
    """The line with which fit refuses to continue. It makes no report and writes nothing."""
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(CheckpointError) as caught:
        fit(config, manifest, checkpoints=folder, report=lambda _: pytest.fail("a report was made"), workers=ALONE)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "difference"),
    [
        ({"optim.lr": 1e-3}, "optim.lr is 0.0002 there and 0.001 in this trial"),
        ({"seed": 1}, "seed is 0 there and 1 in this trial"),
        ({"num_epochs": 3}, "num_epochs is 2 there and 3 in this trial"),
        ({"model.kernels_per_class": 2, "loss.clip": 0.1}, "model.kernels_per_class is 1 there and 2 in this trial"),
        ({"data.augmentation": "timm", "seed": 2}, "data.augmentation is 'none' there and 'timm' in this trial"),
        ({"model.pretrained_file": "x.pth"}, "model.pretrained_file is None there and 'x.pth' in this trial"),
    ],
)
def test_the_first_difference_of_the_configuration_is_named(
    values: dict[str, Scalar], difference: str, manifest: Manifest, trained: Path
) -> None:
    line = refusal(CONFIG.with_values(values), manifest, trained)
    assert line == f"{trained}: holds a checkpoint of another trial: {difference}{ADVICE}"


def test_a_trial_that_has_nothing_left_to_do_is_compared_too(manifest: Manifest, tmp_path: Path) -> None:
    run(CONFIG, manifest, tmp_path)
    assert "optim.lr is 0.0002 there and 0.001" in refusal(CONFIG.with_values({"optim.lr": 1e-3}), manifest, tmp_path)


def with_classes(manifest: Manifest, names: list[str]) -> Manifest:
    table = manifest.table
    targets_NK = targets_to_numpy(table["targets"], len(manifest.class_names))
    return build_manifest(
        name=manifest.name, version="2", class_names=names, splits=table["split"].to_pylist(),
        images=table["bytes"].to_pylist(),
        targets=targets_NK[:, : len(names)],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda names: [*names[:2], "other", *names[3:]], "class 3 is '2' there and 'other' in this trial's data"),
        (lambda names: names[:-1], "class 10 is '9' there and missing in this trial's data"),
    ],
)
def test_other_class_names_are_refused(change, difference: str, manifest: Manifest, trained: Path) -> None:  # type: ignore[no-untyped-def]
    line = refusal(CONFIG, with_classes(manifest, change(list(manifest.class_names))), trained)
    assert line == f"{trained}: holds a checkpoint of other data: {difference}{ADVICE}"


def test_a_training_split_of_another_size_is_refused(trained: Path) -> None:
    larger = build_digits(num_train=64, num_val=16, num_test=8)
    assert f"its trial has 4 steps, with this training split it has 8{ADVICE}" in refusal(CONFIG, larger, trained)


def test_a_trial_that_has_ended_cannot_be_continued_from_its_average(manifest: Manifest, trained: Path) -> None:
    keep_average(trained / "epoch-0001")
    line = refusal(CONFIG, manifest, trained)
    assert line == f"{trained}/epoch-0001: got no model.safetensors, as in a trial that has ended{ADVICE}"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "cannot be read (Expecting property name"),
        ("[]", "cannot be read (list indices must be"),
        ('{"config": {}}', "'class_names' is missing"),
        ('{"config": {"optim": {"momentum": 1}}}', "optim.momentum: unknown name; valid: backbone_lr_factor"),
        ('{"config": {}, "class_names": [], "reports": [{"epoch": 1}]}', "metrics: missing; valid: "),
    ],
)
def test_a_damaged_description_is_refused(content: str, problem: str, manifest: Manifest, trained: Path) -> None:
    (trained / "epoch-0001" / TRIAL).write_text(content)
    assert refusal(CONFIG, manifest, trained).startswith(f"{trained}/epoch-0001/{TRIAL}: {problem}")


@pytest.mark.parametrize("name", [MODEL, AVERAGE, OPTIMIZER])
def test_damaged_tensors_are_refused_by_the_name_of_their_file(name: str, manifest: Manifest, trained: Path) -> None:
    file = trained / "epoch-0001" / name
    content = file.read_bytes()
    for damaged in (b"", content[: len(content) // 2]):
        file.write_bytes(damaged)
        line = refusal(CONFIG, manifest, trained)
        assert line.startswith(f"{file}: cannot be read (")
        assert line.endswith(ADVICE)


def test_a_field_that_is_newer_than_the_checkpoint_has_its_default(manifest: Manifest, trained: Path) -> None:
    path = trained / "epoch-0001" / TRIAL
    document = json.loads(path.read_text())
    del document["config"]["data"]["corrupt_images"]
    path.write_text(json.dumps(document))
    assert [report.epoch for report in run(CONFIG, manifest, trained)] == [1, 2]


def test_a_field_whose_default_has_changed_is_what_the_checkpoint_was_computed_with(
    manifest: Manifest, trained: Path
) -> None:
    path = trained / "epoch-0001" / TRIAL
    document = json.loads(path.read_text())
    del document["config"]["loss"]["kernel_scale"]
    path.write_text(json.dumps(document))
    assert "loss.kernel_scale" in refusal(CONFIG, manifest, trained)
    total = CONFIG.with_values({"loss.kernel_scale": "total"})
    assert [report.epoch for report in run(total, manifest, trained)] == [1, 2]


def test_a_field_that_is_older_than_the_platform_is_refused_only_if_it_changed_something(
    manifest: Manifest, trained: Path
) -> None:
    path = trained / "epoch-0001" / TRIAL
    document = json.loads(path.read_text())
    document["config"]["loss"]["similarity_per_dimension"] = True
    path.write_text(json.dumps(document))
    problem = "loss.similarity_per_dimension: unknown name; valid: asymmetric_weight, "
    assert refusal(CONFIG, manifest, trained).startswith(f"{path}: {problem}")
    document["config"]["loss"]["similarity_per_dimension"] = False
    path.write_text(json.dumps(document))
    assert [report.epoch for report in run(CONFIG, manifest, trained)] == [1, 2]


def test_epochs_are_compared_as_numbers(tmp_path: Path) -> None:
    for name in ("epoch-9999", "epoch-10000", "epoch-x", ".writing-epoch-10001-1-a"):
        (tmp_path / name).mkdir()
    assert find_checkpoint(tmp_path) == tmp_path / "epoch-10000"


def refuse_on(rank: int, port: int, folder: str, manifest: str) -> None:
    join(rank, 2, port)
    config = CONFIG.with_values({"seed": 5})
    try:
        fit(
            config,
            read_manifest(Path(manifest)),
            checkpoints=Path(folder),
            report=lambda _: True,
            workers=join_workers(),
        )
    except CheckpointError as error:
        Path(folder, f"refused-{rank}").write_text(str(error))
    # No worker still waits in a collective operation: the next one works.
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.story
def test_every_worker_raises_the_same_error(manifest: Manifest, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "digits.parquet"
    write_manifest(manifest, path)
    run_workers(refuse_on, 2, free_port(), str(trained), str(path))
    first, second = (Path(trained, f"refused-{rank}").read_text() for rank in (0, 1))
    assert first == second
    assert "seed is 0 there and 5 in this trial" in first
