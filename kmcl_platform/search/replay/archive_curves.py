"""The learning curves of an archive that are trials of a search file.

Legend of shapes: E epochs.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import ValidationError

from kmcl_platform.config.base import describe_error
from kmcl_platform.config.first_trials import active_paths
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.trial_config import Scalar, TrialConfig
from kmcl_platform.errors import ConfigError, DataError
from kmcl_platform.messages import count_of, show_path, show_value
from kmcl_platform.rank_agreement import RankAgreement, rank_agreement
from kmcl_platform.tracking.archive.archive_file import join_archives, read_archive
from kmcl_platform.tracking.runs.names import TrialOutcome

FEWEST_TRIALS = 10
"""Trials that an archive needs at least: fewer say nothing about a space."""

_WITHOUT_EFFECT = ("seed", "data.source", "data.loader_processes", "data.cache", "model.pretrained_file")
"""Paths that may differ between the archive and the file: the seed is chance, the others are places and speed."""


@dataclass(frozen=True)
class Curve:
    """What a trial reports.

    Attributes:
        values_E: the objective after each epoch; of a diverged trial, those before it diverged.
        seconds_E: the seconds of each epoch, as many as values, and one more if the trial diverged.
        diverged: whether the trial ends by diverging.
    """

    values_E: tuple[float, ...]
    seconds_E: tuple[float, ...]
    diverged: bool = False


@dataclass(frozen=True)
class ArchiveCurves:
    """The trials of an archive that a search file could have.

    Attributes:
        points: the values of the searched paths of each trial.
        curves: their curves, in the same order.
        own: the trials whose curves the search would see, by their place in the lists above. These are the trials with
            the file's seed: all trials of a search have the same one, so the chance of a seed is common to all. All
            trials, if the file searches the seed, or too few have its seed.
        others: the curves of trials outside the space, such as baselines, by `config_key`; with the file's seed, if
            there are such.
        dataset: the name of the data.
        seeds: the seed of each trial, in the same order as the points.
        skipped: trials that are not of this search: other values of paths that it does not search, or outside its
            ranges, with another number of epochs, stopped early, or with other code of a plug-in.
    """

    points: list[dict[str, Scalar]]
    curves: list[Curve]
    own: list[int]
    others: dict[str, list[Curve]]
    dataset: str
    skipped: int
    seeds: list[int]


def config_key(config: TrialConfig) -> str:
    """A text that is equal for trials that differ by chance and place alone."""
    flat = config.flat()
    return json.dumps([flat[path] for path in sorted(flat) if path not in _WITHOUT_EFFECT])


def unlike_paths(config: TrialConfig, file: SearchFile) -> list[str]:
    """The paths outside of a file's space at which a trial differs from the trial of the file with the same point.

    The options of a component are paths too: those of a head that is searched are not the base's.
    """
    flat = config.flat()
    known = {path: flat[path] for path in file.space if path in flat}
    try:
        own = file.base.with_values({path: flat[path] for path in active_paths(file, known)}).flat()
    except (ConfigError, KeyError):
        own = file.base.flat()
    paths = [*flat, *(path for path in own if path not in flat)]
    return [p for p in paths if p not in file.space and p not in _WITHOUT_EFFECT and flat.get(p) != own.get(p)]


def read_curves(archives: Sequence[Path], file: SearchFile) -> ArchiveCurves:
    """The trials of a search file in some archives together.

    Args:
        archives: files that `kmcl archive` wrote, at least one.
        file: the search, without arms.

    Raises:
        DataError: an archive is not valid, or they have too few trials of the search (`select_curves`).
    """
    where = ", ".join(map(show_path, archives))
    return select_curves(join_archives([read_archive(one) for one in archives], where), file, where)


def agreement_by_epoch(archive: ArchiveCurves) -> dict[int, RankAgreement]:
    """How far the order of the whole trials after each epoch but the last agrees with their order at the end."""
    whole = [archive.curves[row].values_E for row in archive.own if not archive.curves[row].diverged]
    ends = [values[-1] for values in whole]
    return {epoch: rank_agreement([values[epoch - 1] for values in whole], ends) for epoch in range(1, len(whole[0]))}


def select_curves(table: pa.Table, file: SearchFile, where: str) -> ArchiveCurves:
    """Select the trials of a search file from an archive.

    Args:
        table: a checked archive.
        file: the search, without arms.
        where: the archive's name, for messages.

    Raises:
        DataError: the archive has another metric, trials on several datasets, or fewer than `FEWEST_TRIALS` whole
            trials of the space.
    """
    metric = file.objective.metric
    if metric not in table.column_names:
        raise DataError(f"{where}: got no column {metric!r}; valid: an archive with the objective of {file.name!r}")
    names, hashes = (table[name].to_pylist() for name in ("dataset", "dataset_hash"))
    if len(set(hashes)) > 1:
        shown = sorted({f"{name} {str(digest)[:8]}" for name, digest in zip(names, hashes, strict=True)})
        raise DataError(f"{where}: got {len(set(hashes))} datasets ({show_value(shown)}); valid: trials on one dataset")
    base = file.base.flat()
    table, others_workers = _of_same_workers(table, file)
    trials, skipped = _trials(table, file, metric, where)
    skipped += others_workers
    points, curves, seeds, difference = [], [], [], ""
    others: dict[str, list[tuple[int, Curve]]] = defaultdict(list)
    for config, curve in trials:
        if isinstance(config, str):
            skipped += 1
            difference = difference or config
            continue
        flat = config.flat()
        unlike = unlike_paths(config, file)
        # The number of epochs decides the learning rate at each of them.
        inside = all(
            distribution.contains(flat.get(path))
            for path, distribution in file.space.items()
            if all(flat.get(p) == v for p, v in distribution.when.items())
        )
        if not unlike and inside:
            points.append({path: flat.get(path) for path in file.space})
            curves.append(curve)
            seeds.append(config.seed)
            continue
        others[config_key(config)].append((config.seed, curve))
        skipped += 1
        path = unlike[0] if unlike else next(p for p, d in file.space.items() if not d.contains(flat.get(p)))
        here = repr(base[path]) if path in base else "no such path"
        difference = difference or f"{path} {flat.get(path)!r}, where the file has {here} or a range without it"
    whole = sum(not curve.diverged for curve in curves)
    if whole < FEWEST_TRIALS:
        hint = f" (the first that is not: {difference})" if difference else ""
        raise DataError(
            f"{where}: got {count_of(whole, 'whole trial')} of the space of {file.name!r}{hint}; valid: at least "
            f"{FEWEST_TRIALS} that trained all {file.base.num_epochs} epochs"
        )
    own = list(range(len(curves)))
    baselines = {key: [curve for _, curve in found] for key, found in others.items()}
    if "seed" not in file.space:
        same = [row for row in own if seeds[row] == file.base.seed]
        if sum(not curves[row].diverged for row in same) >= FEWEST_TRIALS:
            own = same
        for key, found in others.items():
            baselines[key] = [curve for seed, curve in found if seed == file.base.seed] or baselines[key]
    return ArchiveCurves(points, curves, own, baselines, str(table["dataset"][0].as_py()), skipped, seeds)


def _of_same_workers(table: pa.Table, file: SearchFile) -> tuple[pa.Table, int]:
    """The trials with as many workers as the file's, or of the most frequent number if none has; and how many others.

    Batch normalisation sees the images of one worker, so the same trial has other numbers with other workers.
    """
    workers = table["workers"].to_pylist()
    keys = list(zip(*(table[name].to_pylist() for name in ("store", "search", "trial")), strict=True))
    count = Counter(dict(zip(keys, workers, strict=True)).values())
    own = file.resources.workers_per_trial
    chosen = own if own in count else count.most_common(1)[0][0]
    left_out = sum(number for one, number in count.items() if one != chosen)
    return table.filter(pa.array([one == chosen for one in workers])), left_out


def _trials(
    table: pa.Table, file: SearchFile, metric: str, where: str
) -> tuple[list[tuple[TrialConfig | str, Curve]], int]:
    """Every trial that completed with the file's number of epochs, or diverged, and the number of the others.

    A trial whose configuration cannot be read has the reason in its place, such as code of a plug-in that is not here.
    """
    rows: dict[tuple[str, str, int], list[dict[str, object]]] = defaultdict(list)
    names = ["store", "search", "trial", "epoch", "config", "outcome", "num_epochs", "seconds", metric]
    for row in table.select(names).to_pylist():
        rows[row["store"], row["search"], row["trial"]].append(row)
    found = []
    for trial in rows.values():
        trial.sort(key=lambda row: row["epoch"])  # type: ignore[arg-type,return-value]
        last = trial[-1]
        if last["num_epochs"] != file.base.num_epochs:
            continue
        values = [row[metric] for row in trial if row["epoch"]]
        seconds = [float(row["seconds"] or 0.0) for row in trial if row["epoch"]]  # type: ignore[arg-type]
        if last["outcome"] == TrialOutcome.DIVERGED:
            # It diverges within the epoch after its last report, which takes about as long as the others.
            known = [float(value) for value in values if value is not None]  # type: ignore[arg-type]
            pace = sum(seconds) / len(seconds) if seconds else 0.0
            curve = Curve(tuple(known), (*seconds[: len(known)], pace), diverged=True)
        elif last["outcome"] == TrialOutcome.COMPLETED and len(values) == file.base.num_epochs and None not in values:
            curve = Curve(tuple(float(value) for value in values), tuple(seconds))  # type: ignore[arg-type]
        else:
            continue
        found.append((_read_config(str(last["config"]), where), curve))
    return found, len(rows) - len(found)


def _read_config(text: str, where: str) -> TrialConfig | str:
    try:
        return TrialConfig.from_record(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{where}: column 'config': got {show_value(text)}; valid: JSON ({error})") from None
    except ValidationError as error:
        return describe_error(error, TrialConfig)
