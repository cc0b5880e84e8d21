"""Call of a network with other weights than its own."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn


def functional_call(network: nn.Module, weights: Mapping[str, Tensor], inputs: tuple[Any, ...]) -> Tensor:
    """Calls a network with these weights and buffers, by name, and leaves its own unchanged.

    With one module under two names, torch.func.functional_call would leave the given weights in it:
    it exchanges them at each name in turn, and puts back what it found at the second.

    >>> layer = nn.Linear(2, 2)
    >>> network = nn.Sequential(layer, layer)
    >>> doubled = {name: 2 * weight for name, weight in network.named_parameters()}
    >>> _ = functional_call(network, doubled, (torch.ones(1, 2),))
    >>> network[0].weight is doubled["0.weight"]
    False
    """
    own: dict[str, Tensor] = {}  # each module once; a weight of two modules twice
    given: dict[Tensor, Tensor] = {}
    for prefix, module in network.named_modules():
        # A scripted module holds no dictionaries, which | could join.
        for key, tensor in chain(module._parameters.items(), module._buffers.items()):
            if tensor is not None:
                own[name := f"{prefix}.{key}" if prefix else key] = tensor
                if name in weights:
                    given[tensor] = weights[name]
    places = {name: given[tensor] for name, tensor in own.items() if tensor in given}
    result: Tensor = torch.func.functional_call(network, places, inputs, tie_weights=False)
    return result
