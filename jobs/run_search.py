"""Run one search file on the Ray cluster on which this script is started.

    ray job submit --address http://HOST:8265 --working-dir . -- python jobs/run_search.py search_spaces/digits.yaml

The store, MLflow's address and the database of the studies come from the environment variables KMCL_STORE,
KMCL_TRACKING_URI and KMCL_STUDY_URL.
"""

import argparse
import os
import sys
from pathlib import Path

from kmcl_platform.errors import KmclError
from kmcl_platform.search.cluster.job_secrets import take_secrets
from kmcl_platform.search.cluster.lock_check import check_environment


def main(path: Path, *, allow_changed_plugins: bool) -> int:
    """Run the search of a file, or those of its arms.

    Args:
        path: the file.
        allow_changed_plugins: go on with other code of its plug-ins than the search began with.

    Returns:
        The exit code. 0: all have ended; 130: stopped; 2: an error of the user, printed as one line.
    """
    # First: the environment of every later step needs them, and their file should be on the disk for a moment only.
    take_secrets(Path.cwd())
    try:
        check_environment(Path.cwd())
        # Imported after the check: in another environment these packages may be missing, or have another version.
        from rich.console import Console

        from kmcl_platform.config.store import open_store
        from kmcl_platform.search.run.run_search import run_search

        places = os.environ
        store = open_store(
            Path(places.get("KMCL_STORE", "kmcl_store")), places.get("KMCL_TRACKING_URI"), places.get("KMCL_STUDY_URL")
        )
        # A job has no terminal, and rich would break lines after 80 characters.
        summaries = run_search(path, store, Console(width=120), allow_changed_plugins=allow_changed_plugins)
    except KmclError as error:
        print(f"kmcl: {error}", file=sys.stderr)
        return 2
    return 130 if any(summary.interrupted for summary in summaries) else 0


def run(words: list[str]) -> int:
    """`main` with the words of a command line."""
    parser = argparse.ArgumentParser(
        description="Run one search file on the Ray cluster on which this script is started."
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--allow-changed-plugins", action="store_true")
    options = parser.parse_args(words)
    return main(options.file, allow_changed_plugins=options.allow_changed_plugins)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
