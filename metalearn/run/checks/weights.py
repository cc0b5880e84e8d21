"""Weights that a run needs: those of a test must have been trained, a training must have some to train."""

from torch import nn

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.backbones.base import backbone_of
from metalearn.backbones.norm import BatchNorm


def check_trained(algorithm: AbstractAlgorithm, names: dict[str, str], pretrained: str | None) -> None:
    """Raises ValueError when a prediction would need weights that are random, since no run has trained them.

    Args:
        algorithm: as it is to be tested.
        names: of the algorithm and of its backbone.
        pretrained: the checkpoint that the weights of its backbone are from, if they are.
    """
    of, on = names["algorithm"], names["backbone"]
    if own := algorithm.own_weights():
        whole = f"{own[0]}, say, is random: test a run of {of} by checkpoint=PATH"
        raise ValueError(f"mode=test: {of} predicts by weights of its own beside those of {on}, and {whole}")
    backbone = backbone_of(algorithm)
    assert backbone is not None  # since there is no other place for weights
    if pretrained:
        _check_averages(backbone, algorithm.batch_norm, pretrained)
        return
    loaded = algorithm.pretrained_on is not None
    random = [name for name, _ in backbone.named_parameters() if not loaded or name.startswith("projection.")]
    if random:
        remedy = "checkpoint=PATH tests a run, pretrained=PATH the backbone of a run, and a backbone may be pretrained"
        raise ValueError(f"mode=test: the weights of {of} on {on} are random ({random[0]}, say): {remedy}")


def check_trainable(algorithm: AbstractAlgorithm, names: dict[str, str]) -> None:
    """Raises ValueError when no weight of an algorithm would be trained."""
    if not any(weight.requires_grad for weight in algorithm.parameters()):
        of, on = names["algorithm"], names["backbone"]
        remedy = "mode=test tests it as it is, backbone.freeze=false trains the backbone"
        raise ValueError(f"there is nothing to train, since {of} on {on} has no weights but frozen ones: {remedy}")


def _check_averages(backbone: nn.Module, batch_norm: str, pretrained: str) -> None:
    """Raises ValueError where `batch_norm` relies on running averages that the earlier run has never moved."""
    norms = [module for module in backbone.modules() if isinstance(module, BatchNorm)]
    unmoved = all(bool((norm.running_mean == 0).all() and (norm.running_var == 1).all()) for norm in norms)
    if batch_norm == "running" and norms and unmoved:
        why = "was trained without running averages of its batch normalisation"
        raise ValueError(f"pretrained={pretrained} {why}, so batch_norm=running has none: type batch_norm=support")
