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


def main(path: Path, *, allow_changed_plugins: bool = False, extend: bool = False) -> int:
    """Run the search of a file, or those of its arms.

    Args:
        path: the file.
        allow_changed_plugins: go on with other code of its plug-ins than the search began with.
        extend: go on with another space than the search began with.

    Returns:
        The exit code. 0: all have ended; 130: stopped; 4: no trial of a search has completed; 2: an error of the
        user, printed as one line.
    """
    # First: the environment of every later step needs them, and their file should be on the disk for a moment only.
    take_secrets(Path.cwd())
    try:
        check_environment(Path.cwd())
        # Imported after the check: in another environment these packages may be missing, or have another version.
        from rich.console import Console

        from kmcl_platform import SearchInterrupted, Store, search

        places = os.environ
        store = Store(
            places.get("KMCL_STORE", "kmcl_store"),
            tracking_uri=places.get("KMCL_TRACKING_URI"),
            study_url=places.get("KMCL_STUDY_URL"),
        )
        # A job has no terminal, and rich would break lines after 80 characters.
        console = Console(width=120)
        try:
            result = search(
                path, store=store, console=console, allow_changed_plugins=allow_changed_plugins, extend=extend
            )
        except SearchInterrupted as stop:
            stop.result.show(console)
            return 130
        result.show(console)
        return 4 if result.names and not any(map(result.has_completed, result.names)) else 0
    except KmclError as error:
        print(f"kmcl: {error}", file=sys.stderr)
        return 2


def run(words: list[str]) -> int:
    """`main` with the words of a command line."""
    parser = argparse.ArgumentParser(
        description="Run one search file on the Ray cluster on which this script is started."
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--allow-changed-plugins", action="store_true")
    parser.add_argument("--extend", action="store_true")
    options = parser.parse_args(words)
    return main(options.file, allow_changed_plugins=options.allow_changed_plugins, extend=options.extend)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
