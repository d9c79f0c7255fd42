"""Samplers: the values of `sampler.kind`. `Sampler` says what one has to have."""

MODULES = ("tpe", "random", "qmc", "gp", "nsga2", "grid")
"""The modules with one sampler each. They import Optuna only when a sampler is built."""
