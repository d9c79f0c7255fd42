"""The search files of the published datasets: their recipe, and trials of them on data in the official layout."""

import math
from pathlib import Path

import optuna
import pytest
import timm
import torch
from safetensors.torch import save_file

from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.search.sampling.space import suggest_values
from kmcl_platform.training.session import TrainingSession
from tests.search_spaces.shipped import FOLDER, LAYOUTS, SMALL, import_command, import_data, read_shipped
from tests.training.trials import ALONE, run

CLASSES = {"voc2007": 20, "coco": 3, "adp": 9, "chestxray14": 14}
"""Number of classes. COCO's are those of the test's small dataset."""

RELEASED: dict[str, Scalar] = {
    "data.image_size": 224,
    "data.batch_size": 64,
    "model.backbone": "tresnet_m.miil_in21k",
    "model.pretrained": True,
    "model.kernel": "anisotropic",
    "model.reduced_dim": 128,
    "model.kernels_per_class": 1,
    "loss.formulation": "released",
    "loss.temperature": 0.17,
    "loss.asymmetric_weight": 1,
    "loss.reconstruction_weight": 1,
    "loss.contrastive_weight": 1,
    "loss.gamma_positive": 0,
    "loss.gamma_negative": 4,
    "loss.clip": 0.05,
    "optim.optimizer": "adam",
    "optim.lr": 2e-4,
    "optim.weight_decay": 1e-4,
    "optim.warmup_fraction": 0.2,
    "optim.ema_decay": 0.9997,
    "optim.mixed_precision": True,
    "num_epochs": 40,
}
"""docs/method.md, Released training recipe, and the defaults of the authors' train.py."""


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_base_is_the_released_recipe_and_the_first_trial(name: str) -> None:
    file = read_shipped(name)
    assert {path: file.base.value(path) for path in RELEASED} == RELEASED
    assert file.baseline
    assert file.objective.metric == "val/mAP"
    assert file.resources.gpus_per_worker == 1


def test_the_documentation_has_the_commands_of_the_files() -> None:
    text = (FOLDER.parent / "docs" / "published_datasets.md").read_text()
    for name in LAYOUTS:
        assert import_command(name) in text


@pytest.mark.parametrize("name", LAYOUTS)
def test_trials_run_on_data_in_the_official_layout(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    import_data(name, tmp_path)
    file = read_shipped(name)
    # The baseline, and the first point that the search would draw at random.
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=file.sampler.seed))
    for number, values in enumerate(({}, suggest_values(study.ask(), file))):
        config = file.base.with_values({**values, **SMALL})
        manifest = open_manifest(config.data.source, tmp_path / "unused")
        assert len(manifest.class_names) == CLASSES[name]
        reports = run(config, manifest, tmp_path / f"trial-{number}")
        assert [report.epoch for report in reports] == [1, 2]
        for report in reports:
            assert all(math.isfinite(value) for value in report.metrics.values())
            assert report.metrics["train/loss"] > 0
            assert 0 < report.metrics["val/mAP"] <= 1


def test_the_real_backbone_starts_from_a_local_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    import_data("voc2007", tmp_path)
    base = read_shipped("voc2007").base
    published = timm.create_model(base.model.backbone).state_dict()
    save_file(published, "tresnet_m.safetensors")
    changes: dict[str, Scalar] = {
        "data.image_size": 64,
        "data.batch_size": 2,
        "data.loader_processes": 0,
        "model.pretrained_file": "tresnet_m.safetensors",
    }
    config: TrialConfig = base.with_values(changes)
    session = TrainingSession(config, open_manifest(config.data.source, tmp_path), ALONE)
    network = session.model.backbone.network
    loaded = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert published.keys() - loaded.keys() == {"head.fc.weight", "head.fc.bias"}
    assert all(torch.equal(tensor, published[name]) for name, tensor in loaded.items())
    session.begin_epoch(1)
    parts = session.train_batch(*next(iter(session.loader)))
    assert torch.isfinite(parts.total)
    assert not torch.equal(network.state_dict()["body.conv1.conv.weight"], loaded["body.conv1.conv.weight"])
