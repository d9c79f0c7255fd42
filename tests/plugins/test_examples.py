"""The examples of docs/plugins.md: short, searched, and with a mistake in them refused before anything starts."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.errors import ConfigError
from kmcl_platform.search.run.checks.component_check import check_components
from tests.support.example import (
    AUGMENTATION_PLUGIN,
    AUGMENTATION_SEARCH,
    BACKBONE_PLUGIN,
    BACKBONE_SEARCH,
    HEAD_PLUGIN,
    HEAD_SEARCH,
)
from tests.training.trials import run


@dataclass(frozen=True)
class Example:
    """An example, and how its component and its option are named."""

    plugin: str
    search: str
    module: str
    name: str
    option: str

    def read(self, folder: Path) -> SearchFile:
        """The search file, beside its plug-in."""
        (folder / f"{self.module}.py").write_text(self.plugin)
        (folder / "search.yaml").write_text(self.search)
        return read_search_file(folder / "search.yaml")


EXAMPLES = {
    "head": Example(
        HEAD_PLUGIN, HEAD_SEARCH, "my_heads", "residual_attention", "model.head_options.residual_attention.weight"
    ),
    "backbone": Example(
        BACKBONE_PLUGIN, BACKBONE_SEARCH, "my_backbones", "plain_cnn", "model.backbone_options.plain_cnn.depth"
    ),
    "augmentation": Example(
        AUGMENTATION_PLUGIN, AUGMENTATION_SEARCH, "my_augmentations", "dark", "data.augmentation_options.dark.share"
    ),
}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_is_short_and_its_option_changes_the_trial(example: Example, tmp_path: Path) -> None:
    assert len(example.plugin.splitlines()) <= 30
    assert sum(example.module in line or example.name in line for line in example.search.splitlines()) <= 3
    file = example.read(tmp_path)
    check_components(file)
    assert list(file.space) == [example.option]
    digits = build_digits(num_train=32, num_val=16, num_test=8)
    base = file.base.with_values({"num_epochs": 1, "data.batch_size": 16})
    metrics = []
    for number, edge in enumerate(file.space[example.option].edges()):
        (report,) = run(base.with_values({example.option: edge}), digits, tmp_path / str(number))
        metrics.append(report.metrics["train/loss"])
    assert len(set(metrics)) == len(metrics) > 1


BUILD = "return Attention(nn.Linear(num_features, num_classes), self.weight)"
RESULT = "return scores_BTK.mean(1) + self.weight * (scores_BTK * scores_BTK.softmax(1)).sum(1)"
CLASS = "super().__init__()"
MADE, WIDTH = "network = nn.Sequential(*layers)", "network.num_features = width"
CHANGED = "return pixels_SS3"

WRONG = {
    "head: no build": ("def build(", "def bild(", r"cannot be loaded: .*got a class without the method `build`; valid"),
    "head: no network": (BUILD, "return len", r": got builtin_function_or_method from build; valid: a torch.nn.Module"),
    "head: an error": (BUILD, "return nn.No()", r" raises AttributeError: .*; valid: no error"),
    "head: another width": (BUILD, "return nn.Linear(7, num_classes)", r" raises RuntimeError: .*shapes"),
    "head: shape": (RESULT, "return scores_BTK", r": got a result of float32 of shape \(6, 9, 5\); valid: a floating"),
    "head: no tensor": (RESULT, "return 3", r": got a result of type int; valid: a floating-point tensor"),
    "head: NaN": (RESULT, "return scores_BTK.mean(1) / 0", r": got a result that is not finite; valid: finite numbers"),
    "head: no gradient": (RESULT, "return scores_BTK.mean(1).detach()", r": got a result without gradient; valid: "),
    "head: an unused layer": (
        CLASS,
        CLASS + "\n        self.more = nn.Linear(2, 2)",
        r": got no gradient for more\.weight; valid: a result that depends on all inputs and parameters",
    ),
    "head: no features": (RESULT, "return 0 * scores_BTK.mean(1)", r": got a gradient of 0 for the features; valid"),
    "backbone: no build": ("def build(", "def bild(", r"cannot be loaded: .*got a class without the method `build`"),
    "backbone: a name of timm": ('"plain_cnn"', '"resnet18"', r"resnet18: got a name that timm has; valid: another"),
    "backbone: no network": (MADE, "return len", r": got builtin_function_or_method from build; valid: a torch.nn.Mod"),
    "backbone: no width": (WIDTH, "", r": got num_features None of its network; valid: the number of features"),
    "backbone: another width": (WIDTH, "network.num_features = 7", r": got .* \(2, 256, 2, 2\); valid: .*\(2, 7, 2, 2\)"),
    "backbone: an error": (MADE, MADE + "[:1].no", r" raises AttributeError: .*; valid: no error"),
    "backbone: one number": (MADE, "network = nn.Sequential(*layers, nn.Flatten(0))", r": got .*of shape \(2048,\); valid: .*256\)"),
    "backbone: an unused weight": (
        WIDTH,
        WIDTH + "; network.register_parameter('spare', nn.Linear(2, 2).weight)",
        r": got no gradient for spare; valid: a result that depends on all inputs and parameters",
    ),
    "augmentation: no build": ("def build(", "def bild(", r"cannot be loaded: .*got a class without the method `build`"),
    "augmentation: an error": (CHANGED, "return no", r" raises NameError: .*; valid: no error"),
    "augmentation: type": (CHANGED, CHANGED + " / 255", r": got a result of float64 of shape \(32, 32, 3\); valid: an arr"),
    "augmentation: shape": (CHANGED, CHANGED + "[2:]", r": got a result of uint8 of shape \(30, 32, 3\); valid: an array"),
    "augmentation: nothing": (CHANGED, "return None", r": got a result of type NoneType; valid: an array of uint8"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_found_before_anything_starts(case: str, tmp_path: Path) -> None:
    kind, (before, after, message) = case.partition(":")[0], WRONG[case]
    example = EXAMPLES[kind]
    assert before in example.plugin
    search = example.search
    if "name of timm" in case:
        search = search.replace(example.name, "resnet18")
    elif "cannot be loaded" not in message:
        message = f"the {kind} {example.name}{message}"
    wrong = replace(example, plugin=example.plugin.replace(before, after), search=search)
    with pytest.raises(ConfigError, match=message) as caught:
        check_components(wrong.read(tmp_path))
    assert f"plugins.{example.module}: " in str(caught.value) and "\n" not in str(caught.value)
