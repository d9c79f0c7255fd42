"""Searches as jobs of SLURM, each with a Ray cluster of its own on the nodes of the job."""
