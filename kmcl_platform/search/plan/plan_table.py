"""A plan as text: a table of the corners and the forecast, or JSON."""

import json
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from kmcl_platform.config.first_trials import base_name, list_baselines
from kmcl_platform.messages import count_of
from kmcl_platform.search.forecast.costs import Range
from kmcl_platform.search.plan.measure import MeasuredType
from kmcl_platform.search.plan.plan import SearchPlan
from kmcl_platform.search.plan.probe_points import TriedCorner
from kmcl_platform.search.sampling.rung_schedule import list_rungs


def to_json(plans: list[SearchPlan]) -> str:
    """The plans of a file's searches as JSON; times in seconds and hours, sizes in bytes, shares in [0, 1]."""
    # NaN is not JSON: it would be an error here, and not in a program that reads this.
    return json.dumps([_document(plan) for plan in plans], indent=2, ensure_ascii=False, allow_nan=False)


def to_table(plan: SearchPlan) -> Group:
    """A plan for a terminal of 100 columns.

    The last column of numbers counts steps with a loss that is not finite: of the first steps, and of those at the
    peak learning rate.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("#", justify="right")
    table.add_column("level")
    for header in ("s per\nstep", "s per\nepoch", "memory of\na worker", "kernels\nthat are 0", "loss not\nfinite"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("values")
    for number, one in enumerate(plan.tried, start=1):
        style = "bold red" if one.failure else "dim" if one.refused else None
        table.add_row(str(number), one.corner.level, *_cells(one), style=style)
    lines = [
        f"search {plan.file.name}: {count_of(plan.file.budget.trials, 'trial')} of at most "
        f"{count_of(plan.file.base.num_epochs, 'epoch')}, "
        f"{_concurrency(plan)}"
    ]
    for kind in plan.types:
        lines.append(f"  {f'on {kind.type}':<12} {_type(kind)}")
    if plan.types:
        lines.append("  corners      the table has those of the slowest type")
    if names := [one.name for one in list_baselines(plan.file)]:
        first = [base_name(plan.file)] if plan.file.baseline else []
        lines.append(f"  baselines    {', '.join(first + names)}: the first trials, all of full length")
    if plan.file.scheduler.finds_rungs:
        lines.append("  rungs        found while the search runs")
    lines += [f"  rung         {rung}" for rung in list_rungs(plan.file)]
    lines += _agreement(plan)
    lines += _retraining(plan)
    if forecast := plan.forecast:
        lines += [
            f"  time         {_hours(forecast.hours)}; {forecast.ends_by} ends it",
            f"  GPU-hours    {_span(forecast.gpu_hours, '{:.3g}')}",
            *([f"  money        {_span(forecast.money, '{:.3g}')}"] if forecast.money.high else []),
            f"  checkpoints  {_bytes(forecast.disk_bytes)}, {plan.free_bytes / 1e9:.0f} GB free",
            f"  trials       {_span(forecast.trials, '{:.0f}')}, {_span(forecast.epochs, '{:.0f}')} epochs in all",
        ]
    lines += _limit(plan)
    lines += [f"  note         {note}" for note in plan.notes]
    return Group(table, Text("\n".join(lines)))


def _type(one: MeasuredType) -> str:
    if one.costs is None:
        return "no corner ran"
    memory = f" ({one.in_memory} in memory)" if one.in_memory is not None and one.in_memory < one.concurrency else ""
    return f"{_span(one.costs.epoch_seconds, '{:.3g}')} s per epoch, {one.concurrency} at once{memory}"


def _limit(plan: SearchPlan) -> list[str]:
    """What a step of the middle corner waits for most."""
    for one in plan.tried:
        if one.corner.level == "middle" and one.measured is not None:
            frozen = plan.file.base.model.backbone_mode == "frozen"
            return [f"  limit        {one.measured.limit.describe(frozen=frozen)}"]
    return []


def _agreement(plan: SearchPlan) -> list[str]:
    """The agreement of orders at the rungs; without fixed rungs after 1, 2, 4, 8 … epochs. The JSON has all epochs."""
    epochs = [rung.epoch for rung in list_rungs(plan.file)] or [2**power for power in range(12)]
    found = [(epoch, plan.agreement[epoch]) for epoch in epochs if epoch in plan.agreement]
    return [
        f"  agreement    after epoch {epoch}: the order of the archive's trials agrees with that at the end, "
        f"τ = {one.tau:.2f} ({one.low:.2f} to {one.high:.2f})"
        for epoch, one in found
    ]


def _retraining(plan: SearchPlan) -> list[str]:
    """What is trained again when the search has ended; its time is not in the forecast of the search."""
    if (finalists := plan.file.finalists) is None:
        return []
    # The best baseline and the best trial with kernel terms can be two more than the best trials.
    fewest, most = (count * finalists.seeds for count in (finalists.trials, finalists.trials + 2))
    epochs = plan.file.base.num_epochs
    hours = ""
    if forecast := plan.forecast:
        low, high = (
            count * epochs * forecast.hours.expected / max(forecast.epochs.expected, 1) for count in (fewest, most)
        )
        hours = f", {low:.2g} to {high:.2g} hours in addition to the search"
    return [
        f"  finalists    {finalists.trials} trials and the two compared ones, on {finalists.seeds} new seeds: "
        f"{fewest} to {most} trainings, {fewest * epochs} to {most * epochs} epochs{hours}"
    ]


def _cells(one: TriedCorner) -> list[str]:
    values = ", ".join(f"{path.rpartition('.')[2]} {_short(value)}" for path, value in one.corner.values.items())
    if one.measured is None:
        # The whole reason is in the refusal, below the table.
        reason = "out of memory" if one.failure.startswith("out of memory") else one.failure or one.refused
        # `escape`: square brackets of a value would be read as rich's markup.
        return ["-", "-", "-", "-", "-", escape(f"{values}: {reason}")]
    found = one.measured
    costs = ", ".join(f"{name} {value:.3g}" for name, value in found.model_costs.items())
    return [
        f"{found.seconds_per_step:.3g}",
        f"{found.epoch_seconds:.3g}",
        f"{found.peak_bytes / 1e9:.2f} GB",
        "none" if found.underflow_share is None else f"{100 * found.underflow_share:.0f} %",
        f"{found.nonfinite_first_steps}/{found.first_steps} {found.nonfinite_peak_steps}/{found.peak_steps}",
        escape(": ".join(filter(None, (values, costs)))),
    ]


def _document(plan: SearchPlan) -> dict[str, Any]:
    return {
        "search": plan.file.name,
        "corners": [_corner(one) for one in plan.tried],
        "types": [
            {
                "type": one.type,
                "corners": [_corner(corner) for corner in one.tried],
                "concurrency": one.concurrency,
                "concurrency_in_memory": one.in_memory,
                "epoch_seconds": one.costs and one.costs.epoch_seconds.model_dump(),
            }
            for one in plan.types
        ],
        "rungs": [asdict(rung) for rung in list_rungs(plan.file)],
        "agreement": {epoch: one._asdict() for epoch, one in plan.agreement.items()},
        "concurrency": plan.concurrency,
        "concurrency_in_memory": plan.concurrency_in_memory,
        "forecast": plan.forecast and plan.forecast.model_dump(),
        "free_bytes": plan.free_bytes,
        "refusal": plan.refusal,
        "notes": plan.notes,
    }


def _corner(one: TriedCorner) -> dict[str, Any]:
    return {
        "level": one.corner.level,
        "values": one.corner.values,
        "measured": one.measured
        and one.measured.model_dump()
        | {"epoch_seconds": one.measured.epoch_seconds, "limit": dict([one.measured.limit])},
        "failure": one.failure,
        "refused": one.refused,
    }


def _concurrency(plan: SearchPlan) -> str:
    resources = plan.file.resources
    gpus = f" and {resources.gpus_per_worker:g} GPU" if resources.gpus_per_worker else ""
    in_memory = plan.concurrency_in_memory
    memory = f" ({in_memory} in memory)" if in_memory is not None and in_memory < plan.concurrency else ""
    return (
        f"{plan.concurrency} at once{memory}, {count_of(resources.workers_per_trial, 'worker')} each of "
        f"{resources.cpus_per_worker:g} CPU{gpus}"
    )


def _hours(hours: Range) -> str:
    return f"{_span(hours, '{:.3g}')} hours" if hours.expected >= 2 else f"{_span(hours, '{:.1f}', 1 / 60)} minutes"


def _bytes(value: Range) -> str:
    return f"{_span(value, '{:.3g}', 1e9)} GB" if value.high >= 1e9 else f"{_span(value, '{:.3g}', 1e6)} MB"


def _span(value: Range, form: str, unit: float = 1.0) -> str:
    low, expected, high = (form.format(number / unit) for number in (value.low, value.expected, value.high))
    return expected if low == high else f"{expected} ({low} to {high})"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
