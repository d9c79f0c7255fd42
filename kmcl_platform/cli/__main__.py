"""`python -m kmcl_platform.cli`: the `kmcl` command of this Python."""

from kmcl_platform.cli.main import main

main()
