"""The packages that components need are looked for before anything starts."""

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.space.distributions import Choice
from kmcl_platform.config.trial_config import Scalar
from kmcl_platform.errors import ConfigError
from kmcl_platform.plugins.augmentation import Augmentation
from kmcl_platform.plugins.component import Component
from kmcl_platform.plugins.head import Head
from kmcl_platform.plugins.loss import Loss
from kmcl_platform.plugins.registry import find_component

_FIELDS: dict[str, type[Component]] = {
    "loss.objective": Loss,
    "loss.classification": Loss,
    "model.head": Head,
    "data.augmentation": Augmentation,
}
"""The fields of a trial whose values are names of components."""


def check_requirements(file: SearchFile) -> None:
    """Look for the packages that the components need which a trial may have.

    Raises:
        ConfigError: a package is missing or too old.
    """
    for path, kind in _FIELDS.items():
        for name in _list_choices(file, path):
            if missing := find_component(kind, str(name)).find_missing():
                raise ConfigError(f"{path}: got {name}, which {missing}; valid: another {kind.kind}, or this package")


def _list_choices(file: SearchFile, path: str) -> list[Scalar]:
    """All values that the trials of a search may have at a path that is not a number."""
    found = [file.base.flat()[path]]
    found += [one.values[path] for one in file.baselines or () if path in one.values]
    found += [values[path] for values in file.arms.values() if path in values]
    distribution = file.space.get(path)
    return found + list(distribution.choices if isinstance(distribution, Choice) else ())
