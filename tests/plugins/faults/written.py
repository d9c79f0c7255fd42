"""Plug-ins and search files of the tests of faults."""

from pathlib import Path

import pytest

from kmcl_platform.errors import KmclError

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
