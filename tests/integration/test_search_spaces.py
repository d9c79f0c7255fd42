"""A search file of a published dataset, from the official layout to a finished trial, by the commands of the README."""

import json
from pathlib import Path

import optuna
import pytest
import timm
import yaml
from safetensors.torch import save_file

from tests.search_spaces.shipped import SMALL, import_data, read_shipped
from tests.support.command_line import kmcl_process

pytestmark = [pytest.mark.cluster, pytest.mark.takes(70)]


def test_a_search_of_voc_from_a_local_file_of_weights(
    prepared_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    import_data("voc2007", tmp_path)
    # Both are named by relative paths, which workers with another working directory must find.
    save_file(timm.create_model("test_resnet").state_dict(), "data/test_resnet.safetensors")
    file = read_shipped("voc2007")
    small = file.base.with_values({**SMALL, "model.pretrained_file": "data/test_resnet.safetensors"})
    changes = {
        "base": small.model_dump(),
        "baselines": [],
        "finalists": None,
        "budget": {"trials": 1},
        "scheduler": {"kind": "none"},
        "resources": {"workers_per_trial": 1, "cpus_per_worker": 1},
    }
    Path("voc2007.yaml").write_text(yaml.safe_dump(file.model_dump(mode="json") | changes))
    done = kmcl_process("search", "voc2007.yaml", "--store", "store")
    assert done.exit_code == 0, done.output
    (trial,) = optuna.load_study(study_name="voc2007", storage="sqlite:///store/optuna.db").get_trials()
    assert trial.state.name == "COMPLETE", done.stdout
    state = json.loads(Path("store/checkpoints/voc2007/trial-0000/epoch-0002/trial.json").read_text())
    assert state["config"]["data"]["source"] == file.base.data.source
    assert state["config"]["model"]["pretrained_file"] == "data/test_resnet.safetensors"
