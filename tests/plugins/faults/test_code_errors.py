"""Faults of the code of plug-ins while it is checked or run: one line that names it; nothing is lost."""

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from kmcl_platform.config.search_file_reader import read_search_file
from kmcl_platform.config.store import open_store
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.data.augmentation.single_images import AugmentationResultError, SeededDraws
from kmcl_platform.errors import ConfigError, KmclError, PluginError
from kmcl_platform.method.losses.classification import LossShapeError, SumOfSamples
from kmcl_platform.plugins.faults.code_errors import note_file, show_error
from kmcl_platform.search.forecast.costs import Costs, Range
from kmcl_platform.search.forecast.forecast import build_forecast
from kmcl_platform.search.run.checks.component_check import check_components
from kmcl_platform.search.run.run_search import run_search
from kmcl_platform.search.study.definition import Allowed
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.training.build import build_classification
from kmcl_platform.training.evaluate import evaluate_scores
from tests.plugins.faults.written import SEARCH, loss, one_line, sampler, scheduler, write

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
    return DurableStudy(url, read_search_file(file), allowed=Allowed(plugins=changed))


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
    assert study.ended.ends == {0: "completed"}
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


def test_a_search_keeps_the_reason_of_a_trial_and_ends_with_the_line_of_its_sampler(
    tmp_path: Path, small_manifest: Path
) -> None:
    late = "CALLS.append(1)\n        if len(CALLS) > 2: sys.exit(3)"
    # The check before the search draws point 0 only.
    code = "CALLS = []\n" + loss(body=late) + sampler("return 55.0 if trial.number else 0.005")
    lines = "sampler: {kind: sm}\nscheduler: {kind: none}\n"
    search = SEARCH.replace("digits", str(small_manifest)).replace("{objective: asymmetric}", "{objective: x}") + lines
    file, store = write(tmp_path, code, search), open_store(tmp_path / "store")
    console = Console(file=io.StringIO(), width=200)
    line = r"^plugins\.p: the sampler sm: optim\.lr: got 55\.0; valid: a number from 0\.001 to 0\.01$"
    with pytest.raises(PluginError, match=line):
        run_search(file, store, console, inline=True)
    (trial,) = read_leaderboard(store, "s").rows
    assert (trial.outcome, trial.reason) == ("failed", "SystemExit: 3 (p.py, line 14)")
    # The mended sampler draws the point whose number was taken.
    mended = code.replace("return 55.0 if trial.number else 0.005", "return 0.004").replace("sys.exit(3)", "pass")
    write(tmp_path, mended, search.replace("trials: 3", "trials: 2"))
    run_search(file, store, console, inline=True, allowed=Allowed(plugins=True))
    rows = {row.number: row.outcome for row in read_leaderboard(store, "s").rows}
    assert rows == {0: "failed", 1: "completed"}
