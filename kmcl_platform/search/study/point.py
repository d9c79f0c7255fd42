"""Point: one trial that the study hands out."""

from dataclasses import dataclass

from kmcl_platform.config.trial_config import TrialConfig


@dataclass(frozen=True)
class Point:
    """One trial to run.

    Attributes:
        number: the trial's number in the study, from 0.
        config: the base with the point's values.
        baseline: the name of the baseline that this is, which is never stopped early; empty: it is none.
        is_base: whether this is the base itself.
        reached: the last epoch that the study knows a report of; 0: none.
        source: the trial of an earlier search that had this point, for readers; empty: none.
    """

    number: int
    config: TrialConfig
    baseline: str
    is_base: bool
    reached: int
    source: str
