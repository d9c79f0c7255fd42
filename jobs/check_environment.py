"""Compare this node's environment with the lock file: exit code 1, and a line for each difference."""

import sys
from pathlib import Path

from kmcl_platform.search.cluster.lock_check import compare_environment

if __name__ == "__main__":
    differences = compare_environment(Path.cwd())
    print("\n".join(differences))
    sys.exit(1 if differences else 0)
