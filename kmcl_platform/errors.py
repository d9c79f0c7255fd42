"""Every error a user of the platform can cause.

    KmclError                 one line for the user; the command line prints it and exits with code 2
    ├── ConfigError           a file or field that cannot be used: names it, the value got, what is valid
    ├── DataError             a dataset, manifest or image that cannot be used
    ├── WeightsError          pretrained weights that cannot be loaded: not there, of another network, or a hub away
    ├── ResourceError         the cluster cannot run what the search file asks for
    ├── SearchError           a search that does not exist, or cannot do what was asked of it
    ├── StoreError            the store cannot be written, a full disk for example
    │   ├── NoAnswerError     a server or a database does not answer, but may be back
    │   └── CheckpointError   a checkpoint is of another trial, or incomplete
    ├── RegistryError         a model or alias that does not exist, or a model that cannot be promoted
    ├── ClusterError          a Ray cluster that cannot be reached or refuses us
    └── Diverged              a trial whose loss is no longer finite; ends the trial, never the search

Errors of our own making are ordinary exceptions: they keep their traceback.
"""

from kmcl_platform.messages import bound_line, mask_passwords


class KmclError(Exception):
    """Base of all errors that a user can cause; its text is one line.

    The text is safe to show: passwords in addresses are masked, and a line has 1,000 characters at most.
    """

    def __str__(self) -> str:
        return "\n".join(map(bound_line, mask_passwords(super().__str__()).split("\n")))


class ConfigError(KmclError):
    """A search file or a field of it is invalid."""


class DataError(KmclError):
    """A dataset, a manifest or an image is missing or invalid."""


class WeightsError(KmclError):
    """Pretrained weights cannot be had; perhaps on one node alone, unlike what a ConfigError says."""


class ResourceError(KmclError):
    """The cluster cannot give a trial what it asks for."""


class SearchError(KmclError):
    """A search is unknown, or not in a state for what was asked."""


class StoreError(KmclError):
    """The store cannot be written to for now; once that is mended, the same command goes on."""


class NoAnswerError(StoreError):
    """MLflow's server or a database does not answer; perhaps in a moment it does."""


class CheckpointError(StoreError):
    """A trial cannot go on from the checkpoint in its folder; once that is moved away, the same command goes on."""


class RegistryError(KmclError):
    """A model, version or alias is unknown, or there is nothing to promote."""


class ClusterError(KmclError):
    """A Ray cluster cannot be reached, or refuses the caller."""


class Diverged(KmclError):
    """A loss term stopped being finite."""
