"""The runner on Ray: Tune asks the driver for trials, and each of them has a group of Ray Train workers."""

import tempfile
from typing import Any

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.search.cluster.ray_session import cluster_address, start_ray, stop_ray, trial_nodes
from kmcl_platform.search.cluster.resources import count_concurrent_trials, turn_seconds
from kmcl_platform.search.run.driver import SearchDriver


class RayRunner:
    """Trains on a Ray cluster.

    Args:
        address: of a running cluster (`auto`, `HOST:PORT`); None: Ray is started on this machine.
    """

    draws_here = False

    def __init__(self, address: str | None) -> None:
        self._address = address

    def check(self, file: SearchFile) -> None:
        """See `Runner`: the address, and the length of a turn."""
        # A wrong address would otherwise only be seen after data and weights were read.
        cluster_address(self._address)
        turn_seconds()

    def start(self, file: SearchFile) -> int:
        """See `Runner`."""
        start_ray(self._address)
        return count_concurrent_trials(trial_nodes(), file.resources)

    def run(self, file: SearchFile, driver: SearchDriver, concurrency: int) -> None:
        """See `Runner`."""
        # Imports Ray, which reads its settings from the environment at that moment: `start` has set them.
        import ray
        from ray import tune
        from ray.tune.search import ConcurrencyLimiter

        from kmcl_platform.search.cluster.resources import TRIAL_ACTOR
        from kmcl_platform.search.run.on_ray.places import SharedPlaces
        from kmcl_platform.search.run.on_ray.ray_watch import RayWatch
        from kmcl_platform.search.run.on_ray.trainable import WarmTrial
        from kmcl_platform.search.run.on_ray.tune_driver import TuneDriver

        def resize(places: int) -> None:
            # Trials that run are not ended: fewer of them begin.
            limiter.max_concurrent = places
            driver.resize(places)

        places = SharedPlaces(file.resources, concurrency, resize)
        tune_driver: Any = TuneDriver(driver, file.resources, places.look)
        # Tune cannot compute the number: a trial's actor reserves nothing, and its workers are unknown to Tune.
        limiter = ConcurrencyLimiter(tune_driver, max_concurrent=concurrency)
        # Tune's own snapshots are never read again, so they are not written into the store, whose disk may fill up.
        with tempfile.TemporaryDirectory(prefix="kmcl-tune-", ignore_cleanup_errors=True) as scratch:
            tuner = tune.Tuner(
                tune.with_resources(WarmTrial, TRIAL_ACTOR),
                tune_config=tune.TuneConfig(
                    search_alg=limiter,
                    # Without a limit: the driver says when no point is left.
                    num_samples=-1,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name=file.name,
                    storage_path=scratch,
                    stop=tune_driver,
                    # How often Tune starts a lost trial actor again. Lost workers do not count here: the mailbox counts
                    # them.
                    failure_config=tune.FailureConfig(max_failures=3),
                    verbose=0,
                ),
            )
            with RayWatch(ray.get_runtime_context().gcs_address, driver.say):
                tuner.fit()

    def stop(self) -> None:
        """See `Runner`."""
        stop_ray()
