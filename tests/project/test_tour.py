"""docs/tour.md: its quotations are the code, and its naive MAML equals ours."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import REPOSITORY, episode
from torch import Tensor, nn

from metalearn import MAML, MLP, AbstractBackbone, Conv4, InnerLoop
from metalearn.backbones.norm import rows
from metalearn.types import Episode

PAGE = (REPOSITORY / "docs/tour.md").read_text()
STOPS = re.findall(r"^## \d\. `([\w/.]+)`[^\n]*\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
(NAIVE,) = [block for block in BLOCK.findall(PAGE) if "def maml_loss" in block]


def test_the_quotations_are_the_code() -> None:
    assert len(STOPS) == 6
    sources = {file: (REPOSITORY / "metalearn" / file).read_text() for file, _ in STOPS}
    assert sum(len(source.splitlines()) for source in sources.values()) < 1100
    sources["algorithms/gradient.py"] += (REPOSITORY / "metalearn/algorithms/maml.py").read_text()
    blocks = [(file, block) for file, text in STOPS for block in BLOCK.findall(text) if block != NAIVE]
    quoted = [(file, line) for file, block in blocks for line in block.splitlines()]
    assert len(quoted) > 15
    assert [line for file, line in quoted if f"{line}\n" not in sources[file]] == []


class Alone(nn.Module):
    """Network of the gradient family as a function of its input alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:  # (B, *X) -> (B, N)
        return self.network(x, rows("batch", training=True))


def conv4() -> AbstractBackbone:
    return Conv4((1, 16, 16), channels=4)


def mlp() -> AbstractBackbone:
    return MLP((1, 16, 16), hidden=[8], norm=False)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("backbone", [conv4, mlp])
def test_the_naive_maml_equals_ours(backbone: Callable[[], AbstractBackbone], steps: int) -> None:
    assert len(NAIVE.partition("def ")[2].splitlines()) <= 15
    code: dict[str, Any] = {}
    exec(NAIVE, code)
    torch.manual_seed(0)
    maml = MAML(
        backbone(), way=3, inner_lr=0.3, inner_loop=InnerLoop(steps=steps, test_steps=1), batch_norm="batch"
    ).double()
    batch = Episode(*(tensor.double() for tensor in episode(tasks=2)))
    weights = list(maml.parameters())
    naive = code["maml_loss"](Alone(maml.network), batch, inner_lr=0.3, steps=steps)
    ours = maml.loss(batch).loss
    torch.testing.assert_close(ours, naive, rtol=1e-12, atol=0)
    gradients = (torch.autograd.grad(loss, weights) for loss in (ours, naive))
    for ours, naive in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, naive, rtol=1e-9, atol=1e-12)
