"""The trials of a search that are compared on new seeds, and the searches that train them again."""

from collections.abc import Iterator

from kmcl_platform.config.arms import expand_arms, retrain_best
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.search.sampling.asking import baseline_name
from kmcl_platform.search.study.ended_trials import trial_end
from kmcl_platform.search.study.study import DurableStudy
from kmcl_platform.tracking.comparison.baselines import (
    WITHOUT_VALUE,
    BaselineComparison,
    Contender,
    compare_baselines,
    retrained_label,
    trial_label,
)


def plan_retraining(file: SearchFile, store: Store) -> dict[str, SearchFile]:
    """The searches that train the compared trials of a file again on new seeds, by the name of each trial.

    With arms: the best trial of each arm, by the arm's name, in the file's order. Without arms and with a `verdict`:
    the best baseline, and the best trial. With `finalists`: all of `list_finalists`, the best first. Empty: the file
    asks for none of these, or such a trial has not reached its last epoch.
    """
    if file.finalists:
        study = DurableStudy(store.study_url, file)
        return {
            trial_label(number, study.point(number).baseline): retrain_best(
                file, number, study.point(number).config, file.finalists.seeds
            )
            for number in list_finalists(study)
        }
    if file.verdict is None or not file.verdict.seeds:
        return {}
    if not file.arms:
        study = DurableStudy(store.study_url, file)
        compared = compare_with_baselines(study)
        if compared is None or compared.best is None:
            return {}
        return {
            retrained_label(one): retrain_best(file, one.number, study.point(one.number).config, file.verdict.seeds)
            for one in (compared.baseline, compared.best)
        }
    searches: dict[str, SearchFile] = {}
    for arm, search in zip(file.arms, expand_arms(file), strict=True):
        study = DurableStudy(store.study_url, search)
        best = study.ended.best(1)
        if not best:
            return {}
        searches[arm] = retrain_best(search, best[0], study.point(best[0]).config, file.verdict.seeds)
    return searches


def list_finalists(study: DurableStudy) -> list[int]:
    """The numbers of the trials that `finalists` trains again, the best first; none without `finalists`.

    These are the best trials of full length, and the two that the search's result compares: the best trial with kernel
    terms and the best baseline.
    """
    if study.file.finalists is None:
        return []
    chosen = set(study.ended.best(study.file.finalists.trials))
    if compared := compare_with_baselines(study):
        chosen |= {one.number for one in (compared.best, compared.baseline) if one}
    return [number for number in study.ended.best() if number in chosen]


def compare_with_baselines(study: DurableStudy) -> BaselineComparison | None:
    """The best trial compared with the best baseline, without other seeds; None: no baseline has completed."""
    objective, base = study.file.objective, study.file.base
    kmcl = not base.own and (base.loss.uses_kernels or "loss.objective" in study.file.space)
    return compare_baselines(
        _contenders(study, kmcl=kmcl),
        metric=objective.metric,
        sign=objective.sign,
        kmcl=kmcl,
        failed=[baseline_name(one) for one in study.ended.baselines if trial_end(one) in WITHOUT_VALUE],
    )


def _contenders(study: DurableStudy, *, kmcl: bool) -> Iterator[Contender]:
    """The completed trials that can be the best one or the best baseline, the best first."""
    is_found = False
    names = {trial.number: baseline_name(trial) for trial in study.ended.baselines}
    for number in study.ended.best():
        # The best baseline may be behind hundreds of trials, and this is asked at the end of each trial.
        if is_found and number not in names:
            continue
        has_terms = study.point(number).config.loss.has_kernel_terms
        is_found = is_found or (number not in names and (has_terms or not kmcl))
        yield Contender(number, names.get(number, ""), study.value(number) or 0.0, has_terms)
