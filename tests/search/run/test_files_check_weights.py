"""Pretrained weights are loaded before a search starts: all that its trials may need, with one line for an error."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
from huggingface_hub import HfApi, constants
from safetensors.torch import save_file

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import WeightsError
from kmcl_platform.search.run.checks.files_check import check_weights
from kmcl_platform.tracking.runs.provenance import file_tags
from tests.support.command_line import kmcl

BACKBONES = ("test_resnet", "test_byobnet")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a file of each backbone's weights."""
    monkeypatch.chdir(tmp_path)
    for name in BACKBONES:
        save_file(timm.create_model(name).state_dict(), f"{name}.safetensors")
    return tmp_path


def parse(model: str, space: str) -> SearchFile:
    text = f"name: weights\nbase: {{model: {{{model}}}}}\nspace:\n{space}budget: {{trials: 2}}\n"
    return parse_search_file(text.encode(), "weights.yaml")


TEMPERATURE = "  loss.temperature: {kind: uniform, low: 0.1, high: 1}\n"
EACH_ITS_OWN = """\
  model.backbone: {kind: choice, choices: [test_resnet, test_byobnet]}
  model.pretrained_file: {kind: choice, choices: [test_byobnet.safetensors], when: {model.backbone: test_byobnet}}
"""


@pytest.mark.parametrize(
    ("model", "space"),
    [
        ("backbone: test_vit", TEMPERATURE),
        ("backbone: test_resnet, pretrained_file: test_resnet.safetensors", TEMPERATURE),
        ("backbone: test_resnet, pretrained_file: test_resnet.safetensors", EACH_ITS_OWN),
    ],
)
def test_existing_weights_are_accepted(model: str, space: str, folder: Path) -> None:
    check_weights(parse(model, space))


@pytest.mark.parametrize(
    ("model", "space", "message"),
    [
        ("pretrained_file: gone.pth", TEMPERATURE, "got gone.pth: no such file"),
        (
            "pretrained_file: test_byobnet.safetensors",
            TEMPERATURE,
            "got test_byobnet.safetensors: not the weights of test_r",
        ),
        # Only a choice of the space needs them.
        (
            "pretrained_file: test_resnet.safetensors",
            "  model.backbone: {kind: choice, choices: [test_resnet, test_byobnet]}\n",
            "got test_resnet.safetensors: not the weights of test_byobnet",
        ),
        (
            "pretrained_file: test_resnet.safetensors",
            EACH_ITS_OWN.replace("test_byobnet.safetensors", "gone.pth"),
            "got gone.pth: no such file",
        ),
    ],
)
def test_missing_weights_of_any_trial_are_refused(model: str, space: str, message: str, folder: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        check_weights(parse(model, space))
    assert str(caught.value).startswith(f"model.pretrained_file: {message}")


@pytest.mark.parametrize("command", ["search", "plan"])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "pretrained_file: gone.pth",
            "kmcl: model.pretrained_file: got gone.pth: no such file; valid: a local file of ",
        ),
        (
            "pretrained: true",
            "kmcl: model.pretrained: got true, but the weights of test_byobnet cannot be fetched from the",
        ),
    ],
)
def test_the_command_line_refuses_them_before_anything_starts(
    command: str,
    model: str,
    message: str,
    small_search: Callable[..., Path],
    small_manifest: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(HfApi, "model_info", away)
    file = small_search(folder, small_manifest)
    file.write_text(file.read_text().replace("backbone: test_byobnet", f"backbone: test_byobnet, {model}"))
    answer = kmcl(command, file, store=folder / "store")
    assert answer.exit_code == 2
    assert answer.stderr.startswith(message)
    assert "model.pretrained_file" in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert not (folder / "store").exists()


def test_the_record_has_the_digest_of_the_file(folder: Path) -> None:
    digest = hashlib.sha256(Path("test_resnet.safetensors").read_bytes()).hexdigest()
    file = parse("pretrained_file: test_resnet.safetensors", TEMPERATURE)
    assert file_tags(file) == {"kmcl.pretrained_sha256": digest}
    assert file_tags(parse("backbone: test_resnet", TEMPERATURE)) == {}
    (folder / "own.npy").write_bytes(b"features")
    own = TrialConfig().with_values({"model.backbone_mode": "frozen", "data.features": "own.npy"})
    digest = hashlib.sha256(b"features").hexdigest()
    assert file_tags(file.model_copy(update={"base": own})) == {"kmcl.features_sha256": digest}
