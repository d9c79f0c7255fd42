"""Attributes of a trial of the Optuna study that several packages read."""

OUTSIDE_SPACE = "outside_space"
"""A baseline that is no point of the space."""

VERDICTS = "verdicts"
"""The trial's verdict at each rung that it reached, by the rung's epoch (as text)."""
