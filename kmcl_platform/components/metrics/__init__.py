"""Metrics of an evaluation, each file with those that are computed together. `Metric` says what one has to have."""

MODULES = ("ranking", "threshold", "top3")
"""The modules with one class each. They import torch only when a split is evaluated."""
