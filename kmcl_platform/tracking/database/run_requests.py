"""Requests about MLflow's runs: find them by their tags, write to them."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from kmcl_platform.config.trial_config import Scalar


def find_runs(client: "MlflowClient", experiment_id: str, **tags: str) -> "list[Run]":
    """All runs of an experiment that have the given `kmcl.` tags, oldest first."""
    condition = " and ".join(f"tags.`kmcl.{name}` = '{value}'" for name, value in tags.items())
    # MLflow returns at most 1,000 runs in one page.
    runs: list[Run] = []
    token: str | None = None
    while True:
        # By default MLflow sorts the newest run first. Callers that expect one run take the first one, which stays the
        # same here.
        page = client.search_runs([experiment_id], condition, order_by=["attributes.start_time ASC"], page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def write(
    client: "MlflowClient",
    run_id: str,
    *,
    metrics: Mapping[str, float] | None = None,
    params: "Mapping[str, Scalar] | None" = None,
    tags: Mapping[str, str] | None = None,
    step: int = 0,
    time_ms: int | None = None,
) -> None:
    """Write to a run in one synchronous request.

    MLflow's asynchronous logging loses what a dying process had not sent.

    Args:
        client: connected to the store.
        run_id: the run that is written to.
        metrics: name to value.
        params: name to value. MLflow refuses a second value for a name.
        tags: name to value.
        step: of the metrics.
        time_ms: when they were measured, in milliseconds since 1970. None: now. MLflow keeps one of two metrics that
            are equal in step, time and value.
    """
    write_steps(client, run_id, [(step, time_ms, metrics or {})], params=params, tags=tags)


def write_steps(
    client: "MlflowClient",
    run_id: str,
    steps: Sequence[tuple[int, int | None, Mapping[str, float]]],
    *,
    params: "Mapping[str, Scalar] | None" = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """As `write`, with the metrics of several steps: (step, time, metrics) each."""
    from mlflow.entities import Metric, Param, RunTag

    # MLflow's client divides more than 1,000 metrics or 100 params into several requests, because the server refuses
    # more.
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[
            Metric(name, value, now if time_ms is None else time_ms, step)
            for step, time_ms, metrics in steps
            for name, value in metrics.items()
        ],
        params=[Param(name, str(value)) for name, value in (params or {}).items()],
        tags=[RunTag(name, value) for name, value in (tags or {}).items()],
        synchronous=True,
    )
