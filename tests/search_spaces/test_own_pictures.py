"""The search file for own pictures: what its comments say, and trials of it on a small table."""

import math
import re
import shlex
from pathlib import Path

import numpy as np
import optuna
import pytest
import timm
import yaml
from PIL import Image
from safetensors.torch import save_file

from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.data.builtin.datasets import open_manifest
from kmcl_platform.search.sampling.space import suggest_values
from tests.search_spaces.shipped import FOLDER, SMALL, import_command, read_shipped
from tests.support.command_line import kmcl
from tests.training.trials import run

TEXT = (FOLDER / "own_pictures.yaml").read_text()
COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


def write_pictures(folder: Path, count: int) -> None:
    """Noisy pictures of one or two colours, and labels.csv with their names."""
    rng = np.random.default_rng(0)
    lines = ["image,tags"]
    (folder / "pictures").mkdir()
    for number in range(count):
        chosen = rng.choice(list(COLOURS), size=int(rng.integers(1, 3)), replace=False).tolist()
        halves = np.repeat([COLOURS[chosen[0]], COLOURS[chosen[-1]]], 20, axis=0)
        pixels = np.clip(halves + rng.integers(-30, 30, (40, 40, 1)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png")
        lines.append(f"pictures/{number}.png,{';'.join(chosen)}")
    (folder / "labels.csv").write_text("\n".join(lines))


def test_the_command_in_its_comments_writes_the_manifest_that_it_names() -> None:
    command = shlex.split(import_command("own_pictures"))
    assert command[5] == read_shipped("own_pictures").base.data.source


def test_weights_mean_the_same_for_each_backbone_and_each_kernel_term_can_be_left_out() -> None:
    file = read_shipped("own_pictures")
    assert file.base.loss.kernel_scale == "per_feature"
    for term in ("reconstruction", "contrastive"):
        assert file.space[f"loss.{term}_weight"].contains(0.0)
    assert [one.name for one in file.baselines or ()] == ["asymmetric", "bce"]


def test_no_trial_is_stopped_before_its_epochs_can_be_trusted() -> None:
    file = read_shipped("own_pictures")
    assert file.scheduler.finds_rungs and not file.scheduler.stopping_epochs(1)


@pytest.mark.parametrize(
    ("line", "path"),
    [("pretrained_file", "base.model.pretrained_file"), ("verdict", "verdict")],
)
def test_a_line_that_is_commented_out_is_valid(line: str, path: str) -> None:
    changed, count = re.subn(rf"^( *)# ({line}: )", r"\1\2", TEXT, flags=re.MULTILINE)
    assert count == 1
    tree = parse_search_file(changed.encode(), "f.yaml").model_dump()
    for name in path.split("."):
        tree = tree[name]
    assert tree is not None


def test_the_values_that_a_comment_gives_are_valid() -> None:
    (resources,) = re.findall(r"with a GPU: (\{workers.*?\})", TEXT)
    bound = re.search(r"`hours: (\d+)`", TEXT)
    assert bound
    tree = yaml.safe_load(TEXT)
    tree["resources"] = yaml.safe_load(resources)
    tree["budget"]["hours"] = int(bound[1])
    file = parse_search_file(yaml.safe_dump(tree).encode(), "f.yaml")
    assert file.resources.gpus_per_worker == 1
    for backbone in {
        word for line in re.findall("such as (.*)\\.|with (.*) use", TEXT) for word in " ".join(line).split()
    }:
        assert backbone == "or" or timm.is_model(backbone), backbone


@pytest.mark.parametrize("name", ["own_pictures", "own_pictures_frozen"])
def test_trials_run_on_a_table_of_pictures(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path, 30)
    done = kmcl(*shlex.split(import_command(name))[1:])
    assert done.exit_code == 0, done.output
    file = read_shipped(name)
    save_file(timm.create_model(SMALL["model.backbone"]).state_dict(), "weights.safetensors")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=file.sampler.seed))
    # The base, its baselines, and the first point that the search would draw at random.
    points = [{}, *(one.values for one in file.baselines or ()), suggest_values(study.ask(), file)]
    for number, values in enumerate(points):
        config = file.base.with_values({**values, **SMALL, "model.pretrained_file": "weights.safetensors"})
        manifest = open_manifest(config.data.source, tmp_path / "unused")
        assert sorted(manifest.class_names) == sorted(COLOURS)
        reports = run(config, manifest, tmp_path / f"trial-{number}", features=tmp_path / "features")
        assert all(math.isfinite(value) for report in reports for value in report.metrics.values())
        assert 0 < reports[-1].metrics["val/mAP"] <= 1
