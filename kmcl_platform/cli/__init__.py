"""The commands of `kmcl`."""
