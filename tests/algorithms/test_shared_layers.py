"""A backbone with one layer under two names is adapted as one that calls its layer twice."""

from collections.abc import Callable

import pytest
import torch
from conftest import episode
from torch import Tensor, nn

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.finetune import FineTune
from metalearn.algorithms.gradient import InnerLoop
from metalearn.algorithms.maml import MAML
from metalearn.algorithms.parts.execution import Execution
from metalearn.algorithms.parts.functional import functional_call
from metalearn.algorithms.protomaml import ProtoMAML
from metalearn.algorithms.reptile import Reptile
from metalearn.algorithms.triplet import Triplet
from metalearn.backbones.base import AbstractBackbone
from metalearn.backbones.norm import Rows
from metalearn.episodes.augmentation import Unchanged

WAY = 3
LOOP = InnerLoop(steps=2, test_steps=2)


class Twice(AbstractBackbone):
    """Linear layer that is called twice, under one name or under two."""

    num_features, map_shape = 16, (16, 1, 1)

    def __init__(self, *, names: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.Linear(16, 16)
        self.layers = nn.ModuleList([layer] * names)

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        return self.layers[-1](self.layers[0](x.flatten(1)).tanh())


def maml(backbone: AbstractBackbone, *, first_order: bool = False, vmap: bool = False) -> AbstractAlgorithm:
    loop, execution = InnerLoop(steps=2, test_steps=2, first_order=first_order), Execution(vmap=vmap)
    return MAML(backbone, way=WAY, inner_lr=0.4, inner_loop=loop, execution=execution, batch_norm="running")


KINDS: dict[str, Callable[[AbstractBackbone], AbstractAlgorithm]] = {
    "maml": maml,
    "first order": lambda backbone: maml(backbone, first_order=True),
    "vmap": lambda backbone: maml(backbone, vmap=True),
    "reptile": lambda backbone: Reptile(
        backbone, way=WAY, inner_lr=0.01, carry_moments=False, inner_loop=LOOP, batch_norm="running"
    ),
    "protomaml": lambda backbone: ProtoMAML(backbone, inner_lr=0.1, inner_loop=LOOP, batch_norm="running"),
    "finetune": lambda backbone: FineTune(
        backbone, steps=2, lr=0.1, adapt=["backbone"], scale=10.0, augmentation=Unchanged(), batch_norm="running"
    ),
    "triplet": lambda backbone: Triplet(
        backbone, margin=0.2, mining="batch_hard", finetune_steps=2, finetune_lr=0.1, batch_norm="running"
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_under_two_names_is_adapted_once(kind: str) -> None:
    batch, results = episode(way=WAY, size=4), []
    task = batch.tasks()[0]
    for names in (1, 2):
        backbone = Twice(names=names)
        torch.manual_seed(1)  # makes the heads equal
        algorithm, weight = KINDS[kind](backbone), backbone.layers[0].weight
        loss = algorithm.loss(batch).loss
        loss.backward()
        logits = algorithm.eval().adapt(task.support_x, task.support_y)(task.query_x)
        assert backbone.layers[0].weight is weight
        results.append((loss, weight.grad, logits))
    torch.testing.assert_close(results[1], results[0])


def test_weights_are_given_once_for_each_place_of_a_module() -> None:
    layer, tied, other = nn.Linear(2, 2), nn.Linear(2, 2), nn.BatchNorm1d(2)
    tied.weight = nn.Linear(2, 2).weight
    network = nn.Sequential(layer, tied, layer, nn.Linear(2, 2), other).eval()
    network[3].weight = tied.weight  # one weight of two modules
    before = [*network.state_dict(keep_vars=True).values()]
    weights = {name: 2 * tensor for name, tensor in network.named_parameters()} | {"4.running_mean": torch.ones(2)}
    x = torch.randn(3, 2)
    result = functional_call(network, weights, (x,))
    assert all(now is then for now, then in zip(network.state_dict(keep_vars=True).values(), before, strict=True))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
        other.running_mean.fill_(1)
    torch.testing.assert_close(result, network(x))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_network_may_hold_a_scripted_layer() -> None:
    network = nn.Sequential(torch.jit.script(nn.Linear(2, 2)), nn.Linear(2, 2))
    weights = {name: torch.zeros_like(tensor) for name, tensor in network.named_parameters() if name != "1.bias"}
    result = functional_call(network, weights, (torch.randn(3, 2),))
    torch.testing.assert_close(result, network[1].bias.expand(3, 2))
    assert network[0].weight.any()
