"""Ray clusters: their start, their jobs, their problems."""

from typing import TYPE_CHECKING

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
    from kmcl_platform.search.cluster.loopback import (
        torch_config as torch_config,
    )
    from kmcl_platform.search.cluster.placement_groups import (
        SECONDS_BETWEEN_LOOKS as SECONDS_BETWEEN_LOOKS,
        ReservationWatch as ReservationWatch,
    )
    from kmcl_platform.search.cluster.ray_session import (
        cluster_address as cluster_address,
        start_ray as start_ray,
        stop_ray as stop_ray,
        trial_nodes as trial_nodes,
    )
    from kmcl_platform.search.cluster.resources import (
        TRIAL_ACTOR as TRIAL_ACTOR,
        count_concurrent_trials as count_concurrent_trials,
        count_trials_in_memory as count_trials_in_memory,
    )
    from kmcl_platform.search.cluster.submit import (
        STOP_SECONDS as STOP_SECONDS,
        submit_search as submit_search,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
