"""Networks that trials may have are looked up before anything starts."""

import pytest

from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.errors import ConfigError
from kmcl_platform.search.run.checks.network_check import check_networks

FILE = """
name: s
base: {model: {backbone: test_resnet}}
baselines: []
space: {optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}}
budget: {trials: 4}
"""


@pytest.mark.parametrize(
    "change",
    [
        ("test_resnet", "resnet5000"),
        ("test_resnet", "'resnet50('"),
        ("baselines: []", "baselines: [{name: a, values: {model.backbone: resnet5000}}]"),
    ],
)
def test_a_backbone_that_does_not_exist_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"model\.backbone: .*got 'resnet50.*valid: "):
        check_networks(parse_search_file(FILE.replace(*change).encode(), "s.yaml"))


@pytest.mark.parametrize("name", ["test_resnet", "resnet50", "resnet50.a1_in1k", "vit_small_patch16_224"])
def test_a_backbone_of_timm_is_found(name: str) -> None:
    check_networks(parse_search_file(FILE.replace("test_resnet", name).encode(), "s.yaml"))
