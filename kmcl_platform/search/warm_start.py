"""Read the earlier searches of a file's `warm_start`, and choose the points with which the search begins."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pyarrow as pa
from pydantic import ValidationError

from kmcl_platform.config.base import describe_error
from kmcl_platform.config.first_trials import ARCHIVE_SUFFIX
from kmcl_platform.config.reports.trial_marks import AIMS
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.space.aims import find_broken
from kmcl_platform.config.trial_config import FORMER_DEFAULTS, Scalar, TrialConfig
from kmcl_platform.errors import DataError, SearchError
from kmcl_platform.messages import count_of, nearest_first, show_path, show_value
from kmcl_platform.search.sampling.asking import VALUES
from kmcl_platform.search.sampling.first_points import (
    FormerTrial,
    WarmStart,
    choose_first_points,
    describe,
    find_difference,
    take_in_turn,
)
from kmcl_platform.search.sampling.search_study import SearchStudy
from kmcl_platform.search.study.definition import DEFINITION
from kmcl_platform.search.study.ended_trials import trial_end
from kmcl_platform.search.study.storage import list_studies, load_study
from kmcl_platform.tracking.archive.archive_file import read_archive
from kmcl_platform.tracking.runs.names import TrialOutcome

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_warm_start(file: SearchFile, study_url: str | None) -> WarmStart:
    """Choose the first points of a search from the earlier searches that its file names.

    Args:
        file: the search, without arms.
        study_url: the address of the database with the studies of the store. None: only archives can be read.

    Raises:
        SearchError: there is no such search; it has another metric or mode, or no trial in the space of this one.
        DataError: the same for an archive, or it cannot be read.
    """
    sources = {word: read_trials(word, file, study_url) for word in file.warm_start}
    for word, trials in sources.items():
        _check(word, trials, file)
    chosen = take_in_turn([choose_first_points(trials, file) for trials in sources.values()], file)
    lines = []
    for word, trials in sources.items():
        inside = sum(find_difference(trial, file) is None for trial in trials)
        lines.append(describe(word, trials, inside, chosen))
    return WarmStart(chosen, lines)


def read_trials(word: str, file: SearchFile, study_url: str | None) -> list[FormerTrial]:
    """The trials of one earlier search that have ended, without failed ones; arguments and errors as above.

    `word`: the name of a search, or the path of an archive.
    """
    if word.endswith(ARCHIVE_SUFFIX):
        path = Path(word)
        return list(_from_archive(read_archive(path), file, f"warm_start: {show_path(path)}"))
    if study_url is None:
        raise SearchError(
            f"warm_start: got {show_value(word)}; valid in a simulation: archives (kmcl archive {word} --to "
            f"{word}{ARCHIVE_SUFFIX})"
        )
    study = load_study(study_url, word)
    if study is None:
        known = list_studies(study_url)
        valid = nearest_first(word, known) if known else "no search, because the store has none yet"
        raise SearchError(f"warm_start: got {show_value(word)}, which is no search of this store; valid: {valid}")
    return list(_from_study(study, file))


def _from_study(study: optuna.Study, file: SearchFile) -> Iterator[FormerTrial]:
    definition: Mapping[str, str] = study.user_attrs.get(DEFINITION, {})
    name = f"warm_start: search {study.study_name!r}"
    for field, here in (("metric", file.objective.metric), ("mode", file.objective.mode)):
        got = json.loads(definition.get(f"objective.{field}", "null"))
        if got != here:
            raise SearchError(f"{name}: objective.{field}: got {show_value(got)}; valid: {show_value(here)}, as here")
    base: dict[str, Scalar] = TrialConfig().flat() | FORMER_DEFAULTS
    base |= {path.removeprefix("base."): json.loads(text) for path, text in definition.items() if path[:5] == "base."}
    for trial in SearchStudy.of(study).all_trials():
        end = trial_end(trial)
        if end in ("completed", "pruned", "diverged") and VALUES in trial.user_attrs:
            # A model that breaks a constraint of this search would not be trained: its point is no use here.
            is_allowed = find_broken(file, trial.user_attrs.get(AIMS, {})) is None
            value = trial.value if end == "completed" and is_allowed else None
            values = base | trial.user_attrs[VALUES]
            yield FormerTrial(study.study_name, trial.number, values, value, not is_allowed)


def _from_archive(table: pa.Table, file: SearchFile, where: str) -> Iterator[FormerTrial]:
    for name, here in (("objective", file.objective.metric), ("mode", file.objective.mode)):
        for got in table[name].unique().to_pylist():
            if got != here:
                raise DataError(f"{where}: {name}: got {show_value(got)}; valid: {show_value(here)}, as in the search")
    seen = set()
    for row in table.select(["store", "search", "trial", "config", "outcome", "value"]).to_pylist():
        key = row["store"], row["search"], row["trial"]
        outcome = row["outcome"]
        if key in seen or outcome == TrialOutcome.FAILED:
            continue
        seen.add(key)
        try:
            values = TrialConfig.from_record(json.loads(row["config"])).flat()
        except (json.JSONDecodeError, RecursionError) as error:
            got = show_value(row["config"])
            raise DataError(f"{where}: column 'config': got {got}; valid: JSON ({error})") from None
        except ValidationError as error:
            # For example a plug-in that is not here. Its values cannot be compared with this space.
            why = describe_error(error, TrialConfig)
            raise DataError(f"{where}: search {row['search']!r}, trial {row['trial']}: {why}") from None
        value = row["value"] if outcome == TrialOutcome.COMPLETED else None
        yield FormerTrial(row["search"], row["trial"], values, value)


def _check(word: str, trials: Sequence[FormerTrial], file: SearchFile) -> None:
    error = DataError if word.endswith(ARCHIVE_SUFFIX) else SearchError
    name = f"warm_start: {word if error is DataError else repr(word)}"
    differences = [find_difference(trial, file) for trial in trials]
    if not any(trial.value is not None for trial in trials):
        raise error(f"{name}: got no trial that has finished; valid: a search with at least one")
    if not any(one is None and trial.value is not None for one, trial in zip(differences, trials, strict=True)):
        first = next(one for one in differences if one is not None)
        raise error(
            f"{name}: got {count_of(len(trials), 'trial')}, of which none that finished lies in this space (the first "
            f"that does not: {first}); valid: a search with such a trial"
        )
