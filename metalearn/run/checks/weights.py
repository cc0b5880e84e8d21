"""Checks of weights: a test needs trained ones, a training needs some to train."""

from torch import nn

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.backbones.base import AbstractBackbone, backbone_of, random_weights
from metalearn.backbones.norm import BatchNorm


def check_trained(algorithm: AbstractAlgorithm, names: dict[str, str], pretrained: str | None) -> None:
    """Raises ValueError if a prediction would use random weights.

    Args:
        algorithm: tested algorithm.
        names: names of the algorithm and of its backbone.
        pretrained: checkpoint of the backbone's weights, if any.
    """
    head, network = names["algorithm"], names["backbone"]
    if own := algorithm.own_weights():
        remedy = f"test a run of {head} by checkpoint=PATH"
        raise ValueError(f"mode=test: weights of {head} besides {network} are random, such as {own[0]}: {remedy}")
    backbone = backbone_of(algorithm)
    if backbone is None:  # no other place holds weights
        return
    if pretrained:
        _check_averages(backbone, algorithm.batch_norm, pretrained)
        return
    if random := random_weights(backbone):
        remedy = "give checkpoint=PATH of a run, pretrained=PATH for its backbone, or a pretrained backbone"
        raise ValueError(f"mode=test: weights of {head} on {network} are random, such as {random[0]}: {remedy}")


def check_trainable(algorithm: AbstractAlgorithm, names: dict[str, str], pretrained: str | None) -> None:
    """Raises ValueError if an algorithm has no weight to train, or random weights are frozen."""
    backbone = backbone_of(algorithm)
    if backbone is not None and algorithm.pretrained_on is None and not pretrained and _is_frozen(backbone):
        raise ValueError(f"backbone.freeze=true keeps the random weights of {names['backbone']}: add pretrained=PATH")
    if not any(weight.numel() for weight in algorithm.parameters()):
        head = names["algorithm"] if backbone is None else f"{names['algorithm']} on {names['backbone']}"
        raise ValueError(f"nothing to train: {head} has no weights; use mode=test")
    if not any(weight.requires_grad for weight in algorithm.parameters()):
        head, network = names["algorithm"], names["backbone"]
        remedy = "use mode=test, or train the backbone with backbone.freeze=false"
        raise ValueError(f"nothing to train: all weights of {head} on {network} are frozen; {remedy}")


def _is_frozen(backbone: nn.Module) -> bool:
    """Whether no weight is trained, except those of a new layer such as a projection."""
    new = getattr(backbone, "untrained", AbstractBackbone.untrained)
    weights = [weight for name, weight in backbone.named_parameters() if not name.startswith(new)]
    return bool(weights) and not any(weight.requires_grad for weight in weights)


def _check_averages(backbone: nn.Module, batch_norm: str, pretrained: str) -> None:
    """Raises ValueError if `batch_norm` needs running averages that the earlier run never moved."""
    norms = [module for module in backbone.modules() if isinstance(module, BatchNorm)]
    unmoved = all(bool((norm.running_mean == 0).all() and (norm.running_var == 1).all()) for norm in norms)
    if batch_norm == "running" and norms and unmoved:
        why = "has no running averages for batch_norm=running"
        raise ValueError(f"pretrained={pretrained} {why}: use batch_norm=support")
