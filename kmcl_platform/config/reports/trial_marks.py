"""Attributes of the Optuna study and of its trials that several packages read."""

OUTSIDE_SPACE = "outside_space"
"""A baseline that is no point of the space."""

FROM_PRIOR = "from_prior"
"""A trial whose point was drawn from the prior."""

VERDICTS = "verdicts"
"""The trial's verdict at each rung that it reached, by the rung's epoch (as text)."""

WARM_START = "warm_start"
"""Of a trial whose point comes from an earlier search: `search`, `trial` and `value` there. Of the study: lines about
the earlier searches."""

SPACE_CHANGES = "space_changes"
"""Of the study: for each change of the space, the number of trials before it (`trials`), and for each line of the space
that changed its former and its new value, as JSON (`changed`)."""

SPENT = "spent"
"""Of the study: what the search has spent. `seconds` of wall time, `gpu_seconds`, `training_seconds` of all trials, and
`place_seconds`: those of all places for trials, from the start to the end."""

AIMS = "aims"
"""Of a trial: its last value of each metric that counts beside the main objective, by name."""
