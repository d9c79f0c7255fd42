"""Every error a user of the platform can cause.

    KmclError                 one line for the user; the command line prints it and exits with code 2
    ├── ConfigError           a file or field that cannot be used: names it, the value got, what is valid
    ├── PluginError           the code of a plug-in raised an error, or gave something that is not valid
    ├── DataError             a dataset, manifest or image that cannot be used
    ├── WeightsError          pretrained weights that cannot be loaded, for example of another network
    ├── ResourceError         the cluster is too small for the resources in the search file
    ├── SearchError           a search that does not exist, or whose state does not allow the command
    ├── StoreError            the store cannot be written, a full disk for example
    │   ├── NoAnswerError     a server or a database does not answer; it may answer later
    │   └── CheckpointError   a checkpoint is of another trial, or incomplete
    ├── RegistryError         a model or alias that does not exist, or a model that cannot be promoted
    ├── ClusterError          a Ray cluster that cannot be reached or refuses the connection
    └── Diverged              a trial whose loss, weights or scores are not finite; it ends the trial, never the search

Errors of the platform's own code are ordinary exceptions: they keep their traceback.
"""

from kmcl_platform.messages import bound_line, mask_passwords


class KmclError(Exception):
    """Base of all errors that a user can cause; its text is one line.

    The text is safe to show: passwords in addresses are masked, and it has 1,000 characters at most. Line breaks, such
    as those in the message of a user's own check, become spaces.
    """

    def __str__(self) -> str:
        text = mask_passwords(super().__str__())
        if text.startswith("Caught ") and "\nOriginal Traceback (most recent call last):" in text:
            # A DataLoader raises the error of a loader process again, with the whole traceback as its message. The last
            # line of it is our message.
            last_line = text.rstrip().rpartition("\n")[2]
            text = last_line.removeprefix(f"{type(self).__module__}.{type(self).__qualname__}: ")
        return bound_line(" ".join(line.strip() for line in text.splitlines()))

    def _render_traceback_(self) -> list[str]:
        # IPython calls it: a notebook shows the line alone, as the command line does.
        return [f"{type(self).__name__}: {self}"]


class ConfigError(KmclError):
    """A search file or a field of it is invalid."""


class PluginError(KmclError):
    """The code of a plug-in raised an error, or gave something that is not valid, while a search ran."""


class DataError(KmclError):
    """A dataset, a manifest or an image is missing or invalid."""


class WeightsError(KmclError):
    """Pretrained weights cannot be loaded. Unlike a ConfigError, this may happen on one node of a cluster only."""


class ResourceError(KmclError):
    """The cluster does not have the resources of one trial."""


class SearchError(KmclError):
    """A search does not exist, or its state does not allow the command."""


class StoreError(KmclError):
    """The store cannot be written to. When that is repaired, the same command continues."""


class NoAnswerError(StoreError):
    """MLflow's server or a database does not answer. It may answer later."""


class CheckpointError(StoreError):
    """A trial cannot continue from the checkpoint in its folder, which has to be moved away."""


class RegistryError(KmclError):
    """A model, version or alias does not exist, or a model cannot be promoted."""


class ClusterError(KmclError):
    """A Ray cluster cannot be reached, or refuses the connection."""


class Diverged(KmclError):
    """A term of the loss, a weight or a score is not finite. It ends the trial, never the search."""


class TooCostly(KmclError):
    """The model of a trial breaks a constraint of the search. It ends the trial, before its first epoch.

    Attributes:
        costs: what was measured.
    """

    def __init__(self, costs: dict[str, float]) -> None:
        super().__init__(", ".join(f"{name} {value:.4g}" for name, value in costs.items()))
        self.costs = costs
