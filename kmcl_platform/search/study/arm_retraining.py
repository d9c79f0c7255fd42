"""From the arms of a file, once each has been searched, to the searches that train their best trials again."""

from kmcl_platform.config.arms import expand_arms, retrain_best
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.search.study.study import DurableStudy


def plan_retraining(file: SearchFile, store: Store) -> dict[str, SearchFile]:
    """The search of each arm, in the file's order, that trains its best trial again on the verdict's seeds.

    Empty where the file asks for no verdict, or where an arm has no trial of full length.
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
