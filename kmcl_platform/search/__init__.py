"""The search: Ray and Optuna. `kmcl_platform.search(FILE)`, a call of this package, runs one: see `api/searches.py`."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.search.cluster.doctor import (
        examine as examine,
    )
    from kmcl_platform.search.cluster.health import (
        examine_cluster as examine_cluster,
    )
    from kmcl_platform.search.cluster.job_secrets import (
        take_secrets as take_secrets,
    )
    from kmcl_platform.search.cluster.jobs import (
        Jobs as Jobs,
    )
    from kmcl_platform.search.cluster.lock_check import (
        check_environment as check_environment,
        compare_environment as compare_environment,
    )
    from kmcl_platform.search.cluster.submit import (
        STOP_SECONDS as STOP_SECONDS,
        submit_search as submit_search,
    )
    from kmcl_platform.search.plan.plan import (
        run_plan as run_plan,
    )
    from kmcl_platform.search.plan.plan_table import (
        to_json as to_json,
        to_table as to_table,
    )
    from kmcl_platform.search.run.run_search import (
        resume_search as resume_search,
        run_search as run_search,
    )
    from kmcl_platform.search.study.checkpoint_retention import (
        measure_checkpoints as measure_checkpoints,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)


class _CallablePackage(ModuleType):
    """The function `search` of the Python API has the name of this package, so the package can be called."""

    def __call__(self, *words: Any, **options: Any) -> Any:
        from kmcl_platform.api.searches import search

        return search(*words, **options)


sys.modules[__name__].__class__ = _CallablePackage
