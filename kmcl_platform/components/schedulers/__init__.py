"""Schedulers: the values of `scheduler.kind`. `Scheduler` says what one has to have."""

MODULES = ("successive_halving", "hyperband", "adaptive", "none")
"""The modules with one scheduler each. They import Optuna only when a pruner is built."""
