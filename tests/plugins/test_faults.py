"""Faults of the code of plug-ins: found when it is loaded, checked or run, and always one line that names it."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.loading.augmentations import AugmentationResultError, SeededDraws
from kmcl_platform.errors import ConfigError, KmclError, PluginError
from kmcl_platform.method.losses.classification import LossShapeError, SumOfSamples
from kmcl_platform.plugins import list_components
from kmcl_platform.plugins.faults.code_errors import note_file, show_error
from kmcl_platform.plugins.loss import Loss
from kmcl_platform.search.forecast.costs import Costs, Range
from kmcl_platform.search.forecast.forecast import build_forecast
from kmcl_platform.search.run.checks.component_check import check_components
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.training.build import build_classification
from kmcl_platform.training.evaluate import evaluate_scores

TOP = """import enum, pathlib, sys
from decimal import Decimal
import numpy as np
import optuna
import torch
from pydantic import Field, field_validator
from kmcl_platform.plugins import *
"""
LOSS = """@register("x")
class X(Loss):
    {option}
    def loss(self, logits_BK, positive_BK, known_BK):
        {body}
        return (logits_BK.square() * known_BK).sum(1)
"""
SAMPLER = """class Own(optuna.samplers.RandomSampler):
    def sample_independent(self, study, trial, name, distribution):
        {body}
    def after_trial(self, study, trial, state, values):
        {after}

@register("sm")
class X(Sampler):
    def build_sampler(self, seed):
        return Own(seed)
"""
SCHEDULER = """@register("sc")
class X(Scheduler):
    def build_pruner(self, num_epochs):
        {pruner}
    def stopping_epochs(self, num_epochs):
        return [1]
    def fewest_epochs(self, num_epochs, num_trials):
        {fewest}
"""
SEARCH = """name: s
plugins: [p]
base:
  data: {source: digits, image_size: 32}
  model: {backbone: test_resnet}
  loss: {objective: asymmetric}
  optim: {lr: 0.005}
  num_epochs: 3
space:
  optim.lr: {kind: loguniform, low: 0.001, high: 0.01}
budget: {trials: 3}
"""


def write(folder: Path, code: str, search: str = SEARCH, name: str = "p") -> Path:
    """A search file beside a plug-in."""
    (folder / f"{name}.py").write_text(TOP + code)
    (folder / "s.yaml").write_text(search.replace("plugins: [p]", f"plugins: [{name}]"))
    return folder / "s.yaml"


def loss(option: str = "", body: str = "pass") -> str:
    return LOSS.format(option=option, body=body)


def sampler(body: str = "return 0.005", after: str = "pass") -> str:
    return SAMPLER.format(body=body, after=after)


def scheduler(fewest: str = "return 3", pruner: str = "return optuna.pruners.NopPruner()") -> str:
    return SCHEDULER.format(fewest=fewest, pruner=pruner)


def one_line(error: pytest.ExceptionInfo[KmclError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", ["json", "os", "random", "torch", "pluggy", "kmcl_platform"])
def test_a_plugin_cannot_have_the_name_of_another_module(tmp_path: Path, name: str) -> None:
    before = sys.modules.get(name)
    with pytest.raises(
        ConfigError, match=rf"got '{name}' \(.*/{name}\.py\), which is also the name of a module of Pyt"
    ):
        read_search_file(write(tmp_path, "", name=name))
    assert sys.modules.get(name) is before


def test_a_plugin_may_be_in_a_folder_where_python_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    file = write(tmp_path, "", name="my_own_plugin")
    # The mark with which some editors begin a text in UTF-8.
    (tmp_path / "my_own_plugin.py").write_text(TOP + loss(), encoding="utf-8-sig")
    assert read_search_file(file).plugins == ("my_own_plugin",)


REFUSED = {
    "twice": (loss() + loss(), r"register\('x'\): got a loss that p has registered; valid: another name"),
    "two names": ('@register("y")\n' + loss(), r"register\('y'\): got a class that is registered as 'x' already"),
    "Enum": ('class E(enum.Enum):\n    A = "a"\n' + loss("w: E = E.A"), r"option w: got the type E; valid: bool, int"),
    "Decimal": (loss('w: Decimal = Decimal("1")'), r"option w: got the type Decimal; valid: bool, int, float, str, Non"),
    "Path": (loss('w: pathlib.Path = pathlib.Path("a")'), r"option w: got the type Path; valid: .*Literal, or several"),
    "set": (loss("w: set[int] = {1}"), r"option w: got the type set\[int\]; valid: "),
    "list": (loss("w: list[float] = [1]"), r"option w: got the type list\[float\]; valid: "),
    "bytes": (loss("w: bytes | None = None"), r"option w: got the type bytes \| None; valid: "),
    "unknown type": (loss('w: "Nope" = 1'), r"option w: got the type .*Nope.*; valid: "),
    "any value": (loss("w: object = [1]"), r"option w: got the default \[1\]; valid: a number, text"),
    "alias": (loss('w: float = Field(default=1.0, alias="v")'), r"option w has an alias; valid: no alias"),
    "wrong default": (loss("w: float = Field(default=-1, gt=0)"), r"option w: got -1; valid: a number above 0, but this"),
    "factory": (loss("w: float = Field(default_factory=lambda: 1 / 0)"), r"raises ZeroDivisionError: .* \(p\.py, line 10\)"),
    "post init": (
        loss("def model_post_init(self, context):\n        raise RuntimeError('no')"),
        r"with its defaults it raises RuntimeError: no \(p\.py, line 11\); valid: no error",
    ),
    "init": (loss("def __init__(self, **values):\n        raise KeyError('q')"), r"raises KeyError: 'q' \(p\.py, line 11"),
    "arguments": (loss().replace("positive_BK, ", ""), r"got the method loss\(self, logits_BK, known_BK\); valid: loss\(self,"),
    "end": ("sys.exit(3)\n", r"p\.py cannot be loaded: SystemExit: 3 \(p\.py, line 8\); valid: a module that"),
    "std": (
        '@register("b")\nclass B(CustomBackbone):\n    std = (0, 0, 0)\n    def build(self, size, pretrained): ...\n',
        r"got std = \(0, 0, 0\); valid: three numbers above 0",
    ),
    "mean": (
        '@register("b")\nclass B(CustomBackbone):\n    mean = (0.5, 0.5)\n    def build(self, size, pretrained): ...\n',
        r"got mean = \(0\.5, 0\.5\); valid: three numbers, for red",
    ),
    "option of a reader": (
        '@register("rd")\nclass R(RowReader):\n    w: list[int] = [1]\n    def rows(self, root): ...\n',
        r"option w: got the type list\[int\]; valid: .*Path, tuple\[str, \.\.\.\]",
    ),
    "name of the command": (
        '@register("rd")\nclass R(RowReader):\n    root: str = ""\n    def rows(self, root): ...\n',
        r"got an option root, a name that the platform uses",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("code", "message"), REFUSED.values(), ids=REFUSED)
def test_a_class_that_cannot_be_a_component_is_refused_when_the_file_is_read(
    tmp_path: Path, code: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_search_file(write(tmp_path, code))
    assert one_line(caught).startswith(f"{tmp_path}/s.yaml: plugins.p: {tmp_path}/p.py cannot be loaded: ")
    assert "x" not in list_components(Loss)


@pytest.mark.parametrize("option", ["w: int | None = None", "w: Literal[1, 'a', True] = 'a'", "w: Rate = 0.5"])
def test_types_of_values_are_accepted(tmp_path: Path, option: str) -> None:
    types = "from typing import Annotated, Literal\nRate = Annotated[float, Field(gt=0, lt=1)]\n"
    read_search_file(write(tmp_path, types + loss(option), SEARCH.replace("asymmetric", "x")))


CHECK = (
    "w: float = 1.0\n    @field_validator('w')\n    @classmethod\n    def check(cls, w):\n        {}\n        return w"
)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ("if w > 2: raise RuntimeError('boom')", r"s\.yaml: plugins\.p: the loss x with the options \{'w': 3\.?0?\} raises "
         r"RuntimeError: boom \(p\.py, line 14\); valid: no error$"),
        ("if w > 2: raise ValueError('small,\\nor none')", r"loss\.options\.x\.w: got 3\.?0?; valid: small, or none$"),
        ("if w > 2: sys.exit(1)", r"the loss x with the options .* raises SystemExit: 1 \(p\.py, line 14\)"),
        ("w = 'a'", r"plugins\.p: .*"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["base", "space"])
def test_the_check_of_an_option(tmp_path: Path, check: str, message: str, where: str) -> None:
    search = SEARCH.replace("{objective: asymmetric}", "{objective: x}")
    if where == "base":
        search = search.replace("{objective: x}", "{objective: x, options: {x: {w: 3}}}")
    else:
        search = search.replace("budget:", "  loss.options.x.w: {kind: uniform, low: 1, high: 3}\nbudget:")
    with pytest.raises((ConfigError, PluginError), match=message) as caught:
        read_search_file(write(tmp_path, loss(CHECK.format(check)), search))
    one_line(caught)


def test_names_with_line_breaks_stay_on_one_line() -> None:
    with pytest.raises(ConfigError, match=r"'a b\\n'") as caught:
        TrialConfig(own={"a b\n": 1})
    one_line(caught)


CHECKED = {
    "exit in a loss": (loss(body="sys.exit(4)"), "", r"the loss x raises SystemExit: 4 \(p\.py, line 12\); valid: no error"),
    "no text": (loss(body="assert False"), "", r"the loss x raises AssertionError \(p\.py, line 12\); valid: no error"),
    "head of one size": (
        '@register("h")\nclass H(Head):\n    def build(self, D, K):\n        return torch.nn.Linear(64, 5)\n',
        "",
        r"the head h of 128 features and 7 classes raises RuntimeError: .*mat1",
    ),
    "sampler outside": (
        sampler("return 55.0"),
        "sampler: {kind: sm}\nscheduler: {kind: none}",
        r"^plugins\.p: the sampler sm: optim\.lr: got 55\.0; valid: a number from 0\.001 to 0\.01$",
    ),
    "sampler without number": (sampler("return 'x'"), "sampler: {kind: sm}\nscheduler: {kind: none}", r"sm: optim\.lr: got 'x'; valid: a number from"),
    "after a trial": (sampler(after="1 / 0"), "sampler: {kind: sm}\nscheduler: {kind: none}", r"the sampler sm raises ZeroDivisionError: .*line 12\)"),
    "forecast raises": (scheduler("1 / 0"), "scheduler: {kind: sc}", r"the scheduler sc raises ZeroDivisionError: .*line 15\)"),
    "forecast": (scheduler("return 'x'"), "scheduler: {kind: sc}", r"sc: fewest_epochs: got 'x'; valid: a number of epochs"),
    "name of another metric": (
        '@register("m")\nclass M(Metric):\n    def measure_all(self, scores, targets):\n        return {"mAP": 1.0}\n',
        "",
        r"the metric m: got a value for 'mAP'; valid: names of its own, m",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("code", "lines", "message"), CHECKED.values(), ids=CHECKED)
def test_wrong_code_is_found_before_anything_starts(tmp_path: Path, code: str, lines: str, message: str) -> None:
    search = read_search_file(write(tmp_path, code, SEARCH + lines))
    with pytest.raises(KmclError, match=message) as caught:
        check_components(search)
    assert one_line(caught).startswith("plugins.p: ")


def test_a_metric_and_a_loss_have_arguments_of_their_own(tmp_path: Path) -> None:
    code = (
        '@register("m")\nclass M(Metric):\n    def measure_all(self, scores_NK, targets_NK):\n'
        '        scores_NK.zero_(); targets_NK.zero_()\n        return {"m": 0.5}\n'
    )
    code += code.replace('"m"', '"a"')
    search = read_search_file(write(tmp_path, code + loss(body="logits_BK.zero_(); known_BK.zero_()")))
    scores, targets = torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([[1, 0], [0, 1]])
    kept = scores.clone(), targets.clone()
    assert evaluate_scores(scores, targets, search.base.plugins) == evaluate_scores(*kept) | {"m": 0.5, "a": 0.5}
    classification = build_classification(search.base.with_values({"loss.objective": "x"}).loss)
    known = torch.ones(2, 2, dtype=torch.bool)
    classification(scores, targets == 1, known)
    torch.testing.assert_close((scores, targets), kept)
    assert known.all()


def test_every_result_of_a_loss_and_of_an_augmentation_is_checked() -> None:
    results = [torch.ones(2), torch.ones(())]
    loss_of = SumOfSamples(lambda *_: results.pop(0), "the loss x", 0.0)
    logits, labels = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool)
    loss_of(logits, labels, labels)
    with pytest.raises(LossShapeError, match=r"the loss x: got a result of float32 of shape \(\); valid: "):
        loss_of(logits, labels, labels)
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels.setflags(write=False)

    def brighten(pixels_SS3: np.ndarray) -> np.ndarray:
        pixels_SS3 += 1  # Its own array, also where the decoded pixels are read-only.
        return pixels_SS3

    assert SeededDraws(0).apply(brighten, [pixels], [(1, 0)])[0].all()
    for wrong in (lambda image: image / 2, lambda image: image[1:], lambda image: None):
        with pytest.raises(AugmentationResultError, match=r"valid: an array of uint8 of shape \(4, 4, 3\)"):
            SeededDraws(0).apply(wrong, [pixels], [(1, 0)])
    with pytest.raises(PluginError, match=r"the augmentation raises SystemExit: 5; valid: no error"):
        SeededDraws(0).apply(lambda image: sys.exit(5), [pixels], [(1, 0)])


def test_the_error_of_a_loader_process_names_the_line() -> None:
    note_file("/a/my_own.py")
    text = (
        "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "/torch/worker.py", line 9, in fetch\n  File "/a/my_own.py", line 12, in change\n    late()\n'
        '  File "/numpy.py", line 3, in f\nValueError: too late\n'
    )
    assert show_error(ValueError(text)) == "ValueError: too late (my_own.py, line 12)"
    ours = text.replace("ValueError: too", "kmcl_platform.errors.PluginError: too")
    assert str(PluginError(ours)) == "too late"


def study_of(file: Path, url: str, *, changed: bool = False) -> DurableStudy:
    return DurableStudy(url, read_search_file(file), allow_changed_plugins=changed)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 55.0 if trial.number else 0.005", r"the sampler sm: optim\.lr: got 55\.0; valid: a number from 0\.001 to 0\.01"),
        ("return 0.5 if trial.number else 0.005", r"the sampler sm: optim\.lr: got 0\.5; valid: "),
        ("assert not trial.number", r"the sampler sm raises AssertionError \(p\.py, line 10\)"),
    ],
)  # fmt: skip
def test_a_search_goes_on_when_its_sampler_is_mended(tmp_path: Path, body: str, message: str) -> None:
    search = SEARCH + "sampler: {kind: sm}\nscheduler: {kind: none}\n"
    url = f"sqlite:///{tmp_path}/optuna.db"
    body = body if body.startswith("return") else f"{body}; return 0.005"
    study = study_of(write(tmp_path, sampler(body), search), url)
    first = study.next_point()
    assert first is not None
    study.tell(first.number, "completed", 0.5)
    with pytest.raises(PluginError, match=f"^plugins.p: {message}") as caught:
        study.next_point()
    one_line(caught)
    with pytest.raises(PluginError, match=f"^plugins.p: {message}"):
        study_of(tmp_path / "s.yaml", url)
    # What other trials have is not lost, and the number of the point is used.
    study = study_of(write(tmp_path, sampler("return 0.004"), search), url, changed=True)
    second = study.next_point()
    assert second is not None
    assert (second.number, second.config.optim.lr) == (1, pytest.approx(0.004))


def test_a_sampler_and_a_pruner_that_raise_after_a_trial_are_named(tmp_path: Path) -> None:
    after = sampler(after="raise RuntimeError('after')")
    study = study_of(write(tmp_path, after, SEARCH + "sampler: {kind: sm}\n"), f"sqlite:///{tmp_path}/one.db")
    first = study.next_point()
    assert first is not None
    with pytest.raises(PluginError, match=r"^plugins\.p: the sampler sm raises RuntimeError: after \(p\.py, line 12\)"):
        study.tell(first.number, "completed", 0.5)
    # The end is written before.
    assert study.ends() == {0: "completed"}
    pruner = (
        "class Own(optuna.pruners.BasePruner):\n    def prune(self, study, trial):\n        raise KeyError('a')\n"
        + scheduler(pruner="return Own()")
    )
    study = study_of(write(tmp_path, pruner, SEARCH + "scheduler: {kind: sc}\n"), f"sqlite:///{tmp_path}/two.db")
    first = study.next_point()
    assert first is not None
    study.report(first.number, 1, 0.5)
    with pytest.raises(PluginError, match=r"^plugins\.p: the scheduler sc raises KeyError: 'a' \(p\.py, line 10\)"):
        study.should_prune(first.number)


def test_the_forecast_names_the_scheduler(tmp_path: Path) -> None:
    search = read_search_file(write(tmp_path, scheduler("1 / 0"), SEARCH + "scheduler: {kind: sc}\n"))
    one = Range(low=1, expected=1, high=1)
    costs = Costs.model_construct(**dict.fromkeys(Costs.model_fields, one))
    with pytest.raises(
        PluginError, match=r"^plugins\.p: the scheduler sc raises ZeroDivisionError: .*\(p\.py, line 15\)"
    ):
        build_forecast(search, costs, 1)


def test_a_name_without_alternatives() -> None:
    with pytest.raises(ConfigError, match=re.escape("unknown name; valid: the name in a plug-in that `plugins` lists")):
        TrialConfig.model_validate({}).with_values({"model.backbone_options.nope.a": 1})
