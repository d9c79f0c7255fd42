"""The checkpoint of the trial that is promoted."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kmcl_platform.config.store import open_store
from kmcl_platform.errors import RegistryError
from kmcl_platform.registry.promotion.members import read_checkpoint
from kmcl_platform.tracking.runs.leaderboard import LeaderboardRow
from kmcl_platform.training.checkpoints.checkpoint import AVERAGE, TRIAL

ROW = LeaderboardRow(
    rank=1, number=0, outcome="completed", reason="", baseline=False, baseline_name="", kernel_terms=True, epochs=1,
    objective=0.5, values={}, run_id="", wall_seconds=1.0,
)  # fmt: skip


def test_a_damaged_file_of_an_ended_trial_is_not_said_to_begin_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    checkpoint = store.trial_checkpoints("s", 0) / "epoch-0001"
    checkpoint.mkdir(parents=True)
    save_file({"weight": torch.zeros(1)}, checkpoint / AVERAGE)
    (checkpoint / TRIAL).write_text(json.dumps({"config": {}})[:8])
    with pytest.raises(RegistryError, match=r"trial\.json: .*; valid: the files as `kmcl search` wrote them") as error:
        read_checkpoint(store, "s", ROW)
    assert "begins again" not in str(error.value) and "\n" not in str(error.value)
