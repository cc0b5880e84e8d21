"""A training step asks the device for no value: on a GPU the host would wait there for all that was given to it."""

import pytest
import torch
from conftest import REPOSITORY, composed, episode
from hydra.utils import instantiate
from torch.utils._python_dispatch import TorchDispatchMode

VALUES = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim"}
"""Operators whose result, or the size of it, has to be known on the host."""

NAMES = sorted(path.stem for path in (REPOSITORY / "conf/algorithm").glob("*.yaml"))
WAITS = {
    "metaoptnet",  # its solver stops where the values say so
    "triplet",  # semi-hard mining lists the pairs of one class: all triples of a batch would not fit a memory
}


class Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator.overloadpacket.__name__
        by_mask = name.startswith("index") and any(
            isinstance(one, torch.Tensor) and one.dtype == torch.bool
            for one in (args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ())
        )
        if name in VALUES or by_mask:
            self.found.append(name)
        return operator(*args, **(kwargs or {}))


def test_what_is_counted() -> None:
    x = torch.rand(3)
    with Counting() as counting:
        x.sum().item()
        x[x > 0.5]
        x[:2] + 1
    assert counting.found == ["_local_scalar_dense", "index"]


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_waits_for_nothing(name: str) -> None:
    small = ["dataset.input_shape=[1,16,16]", "backbone.channels=4", "episode.train.way=3", "num_base_classes=3"]
    torch.manual_seed(0)
    algorithm = instantiate(composed(f"algorithm={name}", *small).algorithm)
    algorithm.done = 0.5
    batch = episode(way=3)
    if algorithm.num_base_classes is not None:
        batch = batch._replace(support_x=batch.support_x[:, :0], support_y=batch.support_y[:, :0])
    with Counting() as counting:
        algorithm.loss(batch).loss.backward()
    assert bool(counting.found) == (name in WAITS), counting.found
