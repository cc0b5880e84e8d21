"""Learner as modules for a trace: the whole method, or its classifier for one support set."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.distribution_calibration import DistributionCalibration
from metalearn.algorithms.metric import adapt_to_features, embeds_each_alone
from metalearn.algorithms.parts.transforms import power
from metalearn.learner.adapted import Adapted, features


class Method(nn.Module):
    """Whole method, from a support set and queries to probabilities.

    Intensities are from 0 to 1.
    """

    def __init__(self, algorithm: AbstractAlgorithm, temperature: float) -> None:
        super().__init__()
        self.algorithm, self.temperature = algorithm, temperature

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """Predicts: (S, C, H, W), one-hot (S, N), (Q, C, H, W) -> (Q, N)."""
        support, query = features(self.algorithm, support_x), features(self.algorithm, query_x)
        logits = adapt_to_features(self.algorithm, support, support_y)(query)
        return (logits / self.temperature).softmax(-1)


class Classifier(nn.Module):
    """Classifier of one support set, whose classes it knows: (Q, C, H, W) -> (Q, N)."""

    def __init__(self, adapted: Adapted, temperature: float) -> None:
        super().__init__()
        self.temperature, self.num_classes = temperature, adapted.num_classes
        # Other methods predict by adapted weights alone.
        self.algorithm = adapted.algorithm if embeds_each_alone(adapted.algorithm) else None
        self.predict = linear_head(adapted) or adapted.predictor

    def forward(self, query_x: Tensor) -> Tensor:
        query = query_x if self.algorithm is None else self.algorithm.embed_each(query_x)
        return (self.predict(query)[:, : self.num_classes] / self.temperature).softmax(-1)


def takes_gradients(module: nn.Module, inputs: dict[str, Tensor]) -> bool:
    """Finds out whether a prediction takes gradients, which no graph holds."""
    try:
        with torch.inference_mode(), _Watch() as watch:
            module(**inputs)
    except RuntimeError:  # torch.autograd fails in this mode
        return True
    return watch.has_seen_gradients


class _Watch(TorchFunctionMode):
    """Sees whether torch.func takes gradients."""

    has_seen_gradients = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.has_seen_gradients |= torch._C._are_functorch_transforms_active()
        return function(*args, **(kwargs or {}))


Transform = Callable[[Tensor], Tensor]
"""Map of embeddings that leaves zero and the axes: (B, D) -> (B, D)."""


class LinearHead(nn.Module):
    """Logits that are linear in the transformed embedding: (B, D) -> (B, N)."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, transform: Transform) -> None:
        super().__init__()
        self.transform = transform
        self.register_buffer("weight", weight)  # (D, N)
        self.register_buffer("bias", bias)  # (N,)

    def forward(self, z: Tensor) -> Tensor:
        return self.transform(z) @ self.weight + self.bias


@torch.no_grad()
def linear_head(adapted: Adapted) -> LinearHead | None:
    """Finds the head that a method has made of a support set, if it is linear after a transform.

    A term that all logits of a row share changes no probability, so logits are taken relative to
    the first. The map is read off at the axes, and accepted if it gives the logits of the support
    set. It is read in double precision: the axes are far from trained embeddings, so that logits
    there cancel in single precision.
    """
    if not embeds_each_alone(adapted.algorithm):
        return None
    z, algorithm = adapted.support.double(), copy.deepcopy(adapted.algorithm).double()  # z: (S, D)
    predict = adapt_to_features(algorithm, z, adapted.targets.double())

    def relative(z: Tensor) -> Tensor:
        logits = predict(z)[:, : adapted.num_classes].double()  # an own method may return another dtype
        return logits - logits[:, :1]

    try:
        bias = relative(z.new_zeros(1, z.shape[1]))[0]  # (N,)
    except RuntimeError:  # an own method may compute in single precision alone
        return None
    weight = relative(torch.eye(z.shape[1], dtype=z.dtype, device=z.device)) - bias  # (D, N)
    expected = relative(z)
    for transform in _transforms(algorithm):
        # An error of 1e-6 in a logit is rounding, and changes no probability visibly.
        if torch.allclose(LinearHead(weight, bias, transform)(z), expected, rtol=1e-6, atol=1e-6):
            return LinearHead(weight.float(), bias.float(), transform)
    return None


def _transforms(algorithm: AbstractAlgorithm) -> list[Transform]:
    transforms: list[Transform] = [nn.Identity(), partial(F.normalize, dim=1)]
    if isinstance(algorithm, DistributionCalibration):
        transforms.append(partial(power, exponent=algorithm.exponent))
    return transforms
