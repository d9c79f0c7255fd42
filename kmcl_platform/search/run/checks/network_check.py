"""Heads and backbones are tried before anything starts, so that a mistake in one is one line and no failed trial.

Legend of shapes: B images, T places of a feature map, D features, K classes.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmcl_platform.config.component_options import make_component
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.trial_config import TrialConfig
from kmcl_platform.errors import ConfigError, KmclError
from kmcl_platform.plugins.backbone import CustomBackbone
from kmcl_platform.plugins.faults.code_errors import CODE_ERRORS, show_error
from kmcl_platform.plugins.head import Head
from kmcl_platform.plugins.registry import list_registered
from kmcl_platform.search.run.checks.files_check import possible_networks

if TYPE_CHECKING:
    from torch import Tensor, nn

_B, _T = 6, 9
_SIZES = ((64, 5), (128, 7))
"""D and K of the made-up features: two, because a head may ignore the sizes that it is given. 64 and 128 are multiples
of the usual numbers of attention heads and groups."""


def check_heads(file: SearchFile) -> None:
    """Compute each head of the file's plug-ins on a few made-up features, with the base's options.

    Raises:
        ConfigError: a head raises an error, its result is not a finite logit of each class, or a parameter or the
            features get no gradient.
    """
    for name, module in list_registered(Head, file.plugins):
        head = make_component(Head, name, file.base.model.head_options)
        for num_features, num_classes in _SIZES:
            if problem := _find_problem_of_head(head, num_features, num_classes):
                sizes = f" of {num_features} features and {num_classes} classes" if num_features != _SIZES[0][0] else ""
                raise ConfigError(f"plugins.{module}: the head {name}{sizes}{problem}")


def _find_problem_of_head(head: Head, num_features: int, num_classes: int) -> str | None:
    """What is wrong with a head, in words; None: nothing."""
    import torch

    shape = (_B, _T, num_features) if head.takes_feature_map else (_B, num_features)
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    try:
        # The weights of the trials come from the same random state, which stays as it is.
        with torch.random.fork_rng(devices=[]):
            network = head.build(num_features, num_classes)
            if not isinstance(network, torch.nn.Module):
                return f": got {type(network).__name__} from build; valid: a torch.nn.Module"
            logits_BK = network(features)
            problem = _find_bad_result(logits_BK, (_B, num_classes), "a logit of each class")
            return problem or _find_bad_gradient(network, logits_BK, features)
    # The code of a plug-in may raise anything.
    except CODE_ERRORS as error:
        return f" raises {show_error(error)}; valid: no error"


def _find_bad_result(result: Any, shape: tuple[int, ...], meaning: str) -> str | None:
    """What is wrong with the result of a network, in words; None: it is a finite tensor of this shape."""
    import torch

    valid = f"valid: a floating-point tensor of shape {shape}, {meaning}"
    if not isinstance(result, torch.Tensor):
        return f": got a result of type {type(result).__name__}; {valid}"
    if result.shape != shape or not result.is_floating_point():
        got = f"{str(result.dtype).removeprefix('torch.')} of shape {tuple(result.shape)}"
        return f": got a result of {got}; {valid}"
    if not result.isfinite().all():
        return ": got a result that is not finite; valid: finite numbers"
    return None


def _find_bad_gradient(network: "nn.Module", result: "Tensor", features: "Tensor | None" = None) -> str | None:
    """What is wrong with the gradient for the parameters and the features, in words; None: nothing."""
    import torch

    parameters = {name: one for name, one in network.named_parameters() if one.requires_grad}
    wanted = parameters if features is None else {"the features": features} | parameters
    if not wanted:
        return None
    if not result.requires_grad:
        return ": got a result without gradient; valid: one that torch can differentiate"
    # Squares, because the sum over the classes of a softmax has no gradient.
    found = torch.autograd.grad(result.square().sum(), list(wanted.values()), allow_unused=True)
    for name, gradient in zip(wanted, found, strict=True):
        if gradient is None:
            return f": got no gradient for {name}; valid: a result that depends on all inputs and parameters"
        if not gradient.isfinite().all():
            return f": got a gradient for {name} that is not finite; valid: finite numbers"
    if features is not None and not found[0].any():
        return ": got a gradient of 0 for the features; valid: a result that depends on them"
    return None


def check_backbones(file: SearchFile) -> None:
    """Compute the features of two made-up images with each backbone of the file's plug-ins, with the base's options.

    Raises:
        ConfigError: a backbone raises an error, its results are not finite features, or a parameter gets no gradient.
    """
    for name, module in list_registered(CustomBackbone, file.plugins):
        from timm import is_model

        if is_model(name):
            problem: str | None = ": got a name that timm has; valid: another name"
        else:
            component = make_component(CustomBackbone, name, file.base.model.backbone_options)
            model = file.base.model
            pretrained = model.backbone == name and model.pretrained and model.pretrained_file is None
            problem = _find_problem_of_backbone(component, file.base.data.image_size, pretrained)
        if problem:
            raise ConfigError(f"plugins.{module}: the backbone {name}{problem}")


def _find_problem_of_backbone(component: CustomBackbone, size: int, pretrained: bool) -> str | None:
    """What is wrong with a backbone, in words; None: nothing."""
    import torch

    images_2 = torch.randn((2, 3, size, size), generator=torch.Generator().manual_seed(0))
    try:
        with torch.random.fork_rng(devices=[]):
            network = component.build(size, pretrained)
            if not isinstance(network, torch.nn.Module):
                return f": got {type(network).__name__} from build; valid: a torch.nn.Module"
            width = getattr(network, "num_features", None)
            if type(width) is not int:
                return f": got num_features {width!r} of its network; valid: the number of features"
            result = network(images_2)
            # A feature map has its places in the middle (tokens) or at the end (a grid).
            shape = tuple(result.shape) if isinstance(result, torch.Tensor) else ()
            valid = {4: (2, width, *shape[2:]), 3: (2, *shape[1:2], width)}.get(len(shape), (2, width))
            problem = _find_bad_result(result, valid, "features")
            return problem or _find_bad_gradient(network, result)
    # The code of a plug-in may raise anything.
    except CODE_ERRORS as error:
        return f" raises {show_error(error)}; valid: no error"


_NETWORK_PATHS = ("model.backbone", "model.head", "data.image_size")


def check_networks(file: SearchFile) -> None:
    """Try whether each backbone that trials may have takes images of their size, and has what the head takes.

    Of a search with one usual network only the name is looked up, without timm, whose import takes seconds.

    Raises:
        ConfigError: a backbone does not exist, or does not fit.
    """
    configs = possible_networks(file, _NETWORK_PATHS)
    if len(configs) > 1 or any(config.model.head_component.takes_feature_map for config in configs):
        for config in configs:
            # A model of own features has no backbone, and those of plug-ins are tried by `check_backbones`.
            if config.data.features is None and config.model.custom_backbone is None:
                _try_network(config)
        return
    model = configs[0].model
    if configs[0].data.features is None and model.custom_backbone is None and not _is_written(model.backbone):
        _try_network(configs[0])


def _is_written(name: str) -> bool:
    """Whether timm's code has a function of this name: those of its networks have. A name may go on after a point."""
    spec = find_spec("timm")
    folder = Path(spec.origin).parent / "models" if spec and spec.origin else Path()
    wanted = f"\ndef {name.partition('.')[0]}("
    return any(wanted in file.read_text(encoding="utf-8") for file in folder.glob("*.py"))


def _try_network(config: TrialConfig) -> None:
    import torch

    from kmcl_platform.training.build import build_backbone, without_pretrained

    size = config.data.image_size
    try:
        # Shapes alone, without memory and without computation.
        with torch.device("meta"), torch.no_grad():
            backbone = build_backbone(without_pretrained(config)).eval()
            backbone(torch.zeros(2, 3, size, size))
    except KmclError:
        raise
    except ValueError as error:
        raise ConfigError(f"model.backbone: {error}") from None
    # timm's networks raise errors of several kinds for sizes that they cannot take.
    except Exception as error:
        # Not every operation can be computed without numbers: then the first trial shows whether it works.
        if not isinstance(error, NotImplementedError) and "meta" not in str(error):
            reason = " ".join(str(error).split())[:300]
            raise ConfigError(
                f"data.image_size: got {size}, with which {config.model.backbone} raises {type(error).__name__}: "
                f"{reason}; valid: a size that this backbone takes"
            ) from None
