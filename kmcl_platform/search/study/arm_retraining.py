"""The searches that train the best trial of each arm again, when all arms of a file have been searched."""

from kmcl_platform.config.arms import expand_arms, retrain_best
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.search.study.study import DurableStudy


def plan_retraining(file: SearchFile, store: Store) -> dict[str, SearchFile]:
    """For each arm, the search that trains its best trial again on the seeds of its `verdict`, in the file's order.

    Empty: the file has no `verdict`, or an arm has no trial that reached its last epoch.
    """
    if file.verdict is None or not file.verdict.seeds:
        return {}
    searches: dict[str, SearchFile] = {}
    for arm, search in zip(file.arms, expand_arms(file), strict=True):
        study = DurableStudy(store.study_url, search)
        best = study.best_numbers(1)
        if not best:
            return {}
        searches[arm] = retrain_best(search, best[0], study.config(best[0]), file.verdict)
    return searches
