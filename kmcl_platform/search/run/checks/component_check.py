"""The components of plug-ins are tried before anything starts: a mistake is one line, and no trial fails of it."""

import math
from collections.abc import Callable
from typing import Any

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.errors import ConfigError, PluginError
from kmcl_platform.messages import show_value
from kmcl_platform.plugins.component import Component
from kmcl_platform.plugins.faults.code_errors import CODE_ERRORS, show_error
from kmcl_platform.plugins.metric import list_metrics, metric_names
from kmcl_platform.search.run.checks.augmentation_check import check_augmentations
from kmcl_platform.search.run.checks.loss_check import check_losses
from kmcl_platform.search.run.checks.network_check import check_backbones, check_heads, check_networks
from kmcl_platform.search.run.checks.requirement_check import check_requirements


def check_components(file: SearchFile) -> None:
    """Try each component of the file's plug-ins, with the options of the file, and the networks that trials may have.

    Of plug-ins, it computes the losses, heads, backbones, augmentations and metrics, draws a point with the sampler,
    and builds the pruner of the scheduler.

    Raises:
        ConfigError: they raise an error, or give something of another type; or two of them do not fit each other.
        PluginError: a sampler gives a value outside of its range.
    """
    check_requirements(file)
    for check_kind in (check_losses, check_heads, check_augmentations, check_backbones, check_networks):
        check_kind(file)
    tried: list[tuple[Component, Callable[[Any, SearchFile], str | None]]] = [
        (file.sampler, _check_sampler),
        (file.scheduler, _check_scheduler),
        *((metric(), _check_metric) for metric in list_metrics(file.plugins)),
    ]
    for component, check in tried:
        module = type(component).__module__
        if module in file.plugins and (problem := _find_problem(component, check, file)):
            raise ConfigError(f"plugins.{module}: the {component.kind} {component.name}{problem}")


def _find_problem(component: Component, check: Callable[[Any, SearchFile], str | None], file: SearchFile) -> str | None:
    try:
        return check(component, file)
    except PluginError:
        # It names the component already.
        raise
    # The code of a plug-in may raise anything.
    except CODE_ERRORS as error:
        return f" raises {show_error(error)}; valid: no error"


def _check_sampler(sampler: Any, file: SearchFile) -> str | None:
    import optuna

    from kmcl_platform.search.sampling.checked_sampler import CheckedSampler
    from kmcl_platform.search.sampling.space import suggest_values

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    built = sampler.build_sampler(0)
    if not isinstance(built, optuna.samplers.BaseSampler):
        return f": build_sampler: got {show_value(built)}; valid: a sampler of Optuna"
    study = optuna.create_study(sampler=CheckedSampler(built, sampler), direction=file.objective.mode)
    suggest_values(trial := study.ask(), file)
    study.tell(trial, 0.5)
    return None


def _check_scheduler(scheduler: Any, file: SearchFile) -> str | None:
    import optuna

    num_epochs = file.base.num_epochs
    built, epochs = scheduler.build_pruner(num_epochs), scheduler.stopping_epochs(num_epochs)
    if not isinstance(built, optuna.pruners.BasePruner):
        return f": build_pruner: got {show_value(built)}; valid: a pruner of Optuna"
    if not isinstance(epochs, list) or [epoch for epoch in range(1, num_epochs) if epoch in epochs] != epochs:
        valid = f"a list of rising numbers from 1 to {num_epochs - 1}" if num_epochs > 1 else "[] for one epoch"
        return f": stopping_epochs: got {show_value(epochs)}; valid: {valid}"
    for forecast in (scheduler.fewest_epochs, scheduler.expected_epochs):
        found = forecast(num_epochs, float(file.budget.trials))
        if not isinstance(found, int | float) or not math.isfinite(found):
            return f": {forecast.__name__}: got {show_value(found)}; valid: a number of epochs"
    return None


def _check_metric(metric: Any, file: SearchFile) -> str | None:
    import torch

    generator = torch.Generator().manual_seed(0)
    scores_NK = torch.rand(12, 5, generator=generator)
    targets_NK = torch.randint(-1, 2, (12, 5), generator=generator)
    # An image without labels, and one with all of them.
    targets_NK[0], targets_NK[1] = 0, 1
    found = metric.measure_all(scores_NK, targets_NK)
    own = metric_names(type(metric))
    others = [name for one in list_metrics(file.plugins) if one is not type(metric) for name in metric_names(one)]
    if unknown := [name for name in found if name not in own or name in others]:
        return f": got a value for {show_value(unknown[0])}; valid: names of its own, {', '.join(own)}"
    return None if found else ": got no value for made-up scores of 12 images; valid: a number"
