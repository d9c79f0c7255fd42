"""Searches as jobs of SLURM, each with a Ray cluster of its own on the nodes of the job."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.search.slurm.job import Job as Job
    from kmcl_platform.search.slurm.submit import (
        SlurmJob as SlurmJob,
        submit_to_slurm as submit_to_slurm,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
