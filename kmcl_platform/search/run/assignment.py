"""What goes to the workers of a trial, and what comes back from them."""

from typing import Any, NotRequired, TypedDict


class Assignment(TypedDict):
    """A trial as it is sent to the workers.

    Attributes:
        number: the trial's number in the study.
        config: the fields of its `TrialConfig`.
        checkpoints: the folder of its checkpoints.
        data_dir: the folder of the built-in datasets.
        features_dir: the folder of the features of frozen backbones.
        working_dir: the folder in which the search was started; relative paths of the search file begin there.
        content_hash: of the manifest that the search began with; empty or missing: any manifest.
        features_hash: digest of the user's own file of features that the search began with; in the same way.
        stopping_epochs: those after which the search may stop the trial; missing: every one.
        checkpoint_minutes: between two checkpoints within an epoch; missing or None: there are none.
        plugins: the code of the configuration's plug-ins, as `plugins.source.to_documents` gives it.
        costs: what to measure of the model before it trains; missing: nothing.
        limits: the largest value of some of them; a trial with a larger one ends before it trains.
        serving_device: where its latency is measured, `trial` or `cpu`.
        probe_steps: run only so many optimizer steps, to measure the costs of the trial.
    """

    number: int
    config: dict[str, Any]
    checkpoints: str
    data_dir: str
    features_dir: str
    working_dir: str
    content_hash: NotRequired[str]
    features_hash: NotRequired[str]
    stopping_epochs: NotRequired[list[int]]
    checkpoint_minutes: NotRequired[float | None]
    plugins: NotRequired[list[dict[str, str]]]
    costs: NotRequired[list[str]]
    limits: NotRequired[dict[str, float]]
    serving_device: NotRequired[str]
    probe_steps: NotRequired[int]


class Message(TypedDict, total=False):
    """A message of the workers; it has one of these, but for the one that goes with another.

    Attributes:
        report: the fields of an epoch's `EpochReport`.
        earlier: beside `report`: those of epochs before it, which were not sent yet.
        diverged: why the trial diverged: a loss or a weight is no longer finite.
        refused: what was measured of a model that costs too much.
        failure: why the trial failed.
        out_of_memory: beside `failure`: it failed because memory ran out.
        note: a line about the trial for the user; the trial goes on.
        trouble: why no trial can continue, for example a full disk.
        measurement: the fields of a probe's `Measurement`.
    """

    report: dict[str, Any]
    earlier: list[dict[str, Any]]
    diverged: str
    refused: dict[str, float]
    failure: str
    out_of_memory: bool
    note: str
    trouble: str
    measurement: dict[str, Any]
