"""What a trial trains on, as the record has it."""

from pathlib import Path

import pytest
import torch

from kmcl_platform.training.workers import device_name
from kmcl_platform.training.workers.device_name import group_devices
from kmcl_platform.training.workers.distributed import Workers


def test_a_processor_has_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: A  CPU @ 2.0GHz\n\nprocessor\t: 1\nmodel name\t: A  CPU @ 2.0GHz\n")
    monkeypatch.setattr(device_name, "_PROCESSORS", file)
    device_name._processor.cache_clear()
    assert device_name.device_name(torch.device("cpu")) == "A CPU @ 2.0GHz"
    file.write_text("processor\t: 0\n")
    device_name._processor.cache_clear()
    assert device_name.device_name(torch.device("cpu"))
    device_name._processor.cache_clear()


def test_a_group_on_different_gpus_names_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Group(Workers):
        def gather(self, value: object) -> list[object]:  # type: ignore[override]
            return [value, "Tesla T4", value]

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100")
    assert group_devices(Group(0, 3, torch.device("cuda"))) == "NVIDIA A100, Tesla T4"
