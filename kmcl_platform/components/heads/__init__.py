"""Heads: the values of `model.head`. `Head` says what one has to have."""

MODULES = ("kernel_mixture", "linear", "ml_decoder")
"""The modules with one head each. They import torch only when a network is built."""
