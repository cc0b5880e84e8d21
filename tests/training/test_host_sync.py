"""A training step reads no value from the device, because on a GPU the host would wait for it."""

import pytest
import torch
from algorithm_options import NAMES
from conftest import composed, episode
from hydra.utils import instantiate
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

VALUES = {
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim",
    "_linalg_check_errors",
}  # fmt: skip
"""Operators whose result, or its size, must be known on the host."""
COPIES = {"tolist", "numpy", "cpu", "tensor", "as_tensor", "new_tensor", "from_numpy"}
"""Functions that copy between device and host."""
FACTORIES = {"arange", "linspace", "eye", "full", "zeros", "ones", "empty", "rand", "randn"}
"""Functions that create their result on the host unless given a device; using it then copies."""

WAITS = {
    "key_value_memory",  # as mann
    "mann",  # the labels of a batch seed the order of its rows
    "metaoptnet",  # the values decide when its solver stops
    # Semi-hard mining lists the pairs of one class; all triples of a batch exceed memory.
    "triplet",
}


class Calls(TorchFunctionMode):
    """Mode that records function calls that reach no operator."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name, kwargs = getattr(function, "__name__", ""), kwargs or {}
        if name in COPIES or (name in FACTORIES and kwargs.get("device") is None):
            self.found.append(name)
        return function(*args, **kwargs)


class Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.calls = Calls(self.found)

    def __enter__(self):
        self.calls.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.calls.__exit__(*error)

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator.overloadpacket.__name__
        by_mask = name.startswith("index") and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool
            for index in (args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ())
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
        x.tolist()
        x.new_tensor([1.0])
        torch.zeros(2)
        torch.zeros(2, device=x.device)
        torch.linalg.solve(torch.diag(x), x)
    assert counting.found == ["_local_scalar_dense", "index", "tolist", "new_tensor", "zeros", "_linalg_check_errors"]


@pytest.mark.parametrize("name", [*NAMES, "learned_optimizer algorithm.cell=transformer"])
def test_a_training_step_waits_for_nothing(name: str) -> None:
    small = ["dataset.input_shape=[1,16,16]", "backbone.channels=4", "episode.train.way=3", "num_base_classes=3"]
    torch.manual_seed(0)
    algorithm = instantiate(composed(*f"algorithm={name}".split(), *small).algorithm)
    algorithm.done = 0.5
    batch = episode(way=3)
    if algorithm.num_base_classes is not None:
        batch = batch._replace(support_x=batch.support_x[:, :0], support_y=batch.support_y[:, :0])
    with Counting() as counting:
        algorithm.loss(batch).loss.backward()
    assert bool(counting.found) == (name in WAITS), counting.found


@pytest.mark.parametrize("name", ["natural", "characters"])
def test_an_augmentation_waits_for_nothing(name: str) -> None:
    augmentation = instantiate(composed(f"augmentation={name}").augmentation)
    images, random = torch.rand(4, 3, 16, 16), torch.rand(4, augmentation.num_random)
    with Counting() as counting:
        augmentation(images, random)
    assert not counting.found
