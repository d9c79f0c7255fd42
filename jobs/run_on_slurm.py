"""Run a search in the SLURM job in which this script is started, on a Ray cluster on all nodes of the job.

    python jobs/run_on_slurm.py search FILE --store FOLDER

The words are those of `kmcl`; the script that `kmcl submit --slurm` writes has this line. SLURM sends SIGUSR1 some
minutes before the job's time ends. The search then stops in an orderly way, and the job is queued again; its next run
continues the search. SIGTERM (a preemption, or `scancel --batch --signal=TERM ID`) stops the search too, but does not
queue the job.
"""

import signal
import sys
import time
from collections.abc import Sequence

from kmcl_platform.errors import KmclError
from kmcl_platform.search.slurm.job import INTERRUPTED, Job


def main(words: Sequence[str]) -> int:
    """Run a search.

    Args:
        words: of the command `kmcl`.

    Returns:
        The exit code of the search; 2: an error of the user, printed as one line.
    """
    try:
        job = Job()
        signal.signal(signal.SIGUSR1, job.stop)
        signal.signal(signal.SIGTERM, job.stop)
        print(f"job {job.number} on {', '.join(job.nodes)}{', continued' if job.is_continued else ''}", flush=True)
        code = job.run(words)
        if job.stopped_by == signal.SIGUSR1 and code == INTERRUPTED:
            print(f"job {job.number}: its time ends, so it is queued again", flush=True)
            job.queue_again()
            # SLURM ends this process.
            time.sleep(60)
        return code
    except KmclError as error:
        print(f"kmcl: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
