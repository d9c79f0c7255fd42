"""Objectives: the values of `loss.objective` and `loss.classification`. `Loss` says what one has to have."""

MODULES = ("kmcl", "asymmetric", "bce", "distribution_balanced", "focal", "hill", "polynomial", "two_way", "zlpr")
"""The modules with one objective each. They import torch only when a loss is built."""
