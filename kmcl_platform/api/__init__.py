"""The Python API, which the command line uses too. Import its names from `kmcl_platform` itself (docs/python.md)."""
