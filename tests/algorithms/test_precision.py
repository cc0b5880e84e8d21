"""Comparisons of embeddings run in float32 when training uses half precision."""

from collections.abc import Callable

import pytest
import torch
from embedded_tasks import Flat
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.algorithms.gradient import InnerLoop
from metalearn.algorithms.key_value_memory import KeyValueMemory
from metalearn.algorithms.matching import Matching
from metalearn.algorithms.metaoptnet import MetaOptNet
from metalearn.algorithms.metric import AbstractEmbedding
from metalearn.algorithms.protomaml import ProtoMAML
from metalearn.algorithms.prototypical import Prototypical
from metalearn.algorithms.r2d2 import R2D2
from metalearn.algorithms.siamese import Siamese
from metalearn.algorithms.triplet import Triplet

WIDTH = 1600  # width of Conv4 for images of 84 x 84 pixels


class Given(Flat):
    """Backbone that returns its inputs, with one weight for an inner loop to move."""

    def __init__(self) -> None:
        super().__init__(WIDTH)
        self.weight = nn.Parameter(torch.zeros(1))


def siamese() -> Siamese:
    torch.manual_seed(0)
    return Siamese(Given(), batch_norm="running")


ALGORITHMS: dict[str, Callable[[], nn.Module]] = {
    "prototypical": lambda: Prototypical(Given(), batch_norm="running"),
    "prototypical by cosine": lambda: Prototypical(Given(), distance="cosine", temperature=0.1, batch_norm="running"),
    "matching": lambda: Matching(Given(), temperature=0.1, processing_steps=1, batch_norm="running"),
    "triplet": lambda: Triplet(Given(), mining="batch_hard", margin=1.0, finetune_lr=0.1, batch_norm="running"),
    "siamese": siamese,
    "key_value_memory": lambda: KeyValueMemory(
        Given(), slots=8192, margin=0.1, inverse_temperature=40.0, batch_norm="running"
    ),
    "r2d2": lambda: R2D2(Given(), scale=10.0, ridge=50.0, batch_norm="running"),
    "metaoptnet svm": lambda: MetaOptNet(Given(), head="svm", c=0.1, ridge=50.0, scale=1.0, batch_norm="running"),
    "metaoptnet ridge": lambda: MetaOptNet(Given(), head="ridge", c=0.1, ridge=50.0, scale=1.0, batch_norm="running"),
    "protomaml": lambda: ProtoMAML(
        Given(), inner_lr=0.1, inner_loop=InnerLoop(steps=0, test_steps=0), batch_norm="running"
    ),
}


def task() -> tuple[Tensor, Tensor, Tensor]:
    """Draws embeddings after a ReLU that bfloat16 represents exactly: (S, D), (S, N), (Q, D)."""
    generator = torch.Generator().manual_seed(0)
    y = F.one_hot(torch.arange(5).repeat(10), 5).float()
    z = y @ torch.randn(5, WIDTH, generator=generator) + torch.randn(50, WIDTH, generator=generator)
    support_z, query_z = z.relu().bfloat16().float().chunk(2)
    return support_z, y[:25], query_z


TASK = task()  # made without autocast


def logits(algorithm: nn.Module, dtype: torch.dtype) -> Tensor:
    """Computes the query logits, (Q, N), minus each query's mean over the ways."""
    support_z, support_y, query_z = (part.to(dtype) for part in TASK)
    if isinstance(algorithm, AbstractEmbedding | Triplet):
        values = algorithm.compare(support_z, support_y, query_z)
    else:
        values = algorithm.adapt(support_z, support_y)(query_z)  # type: ignore[operator]
    return (values - values.mean(1, keepdim=True)).detach()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_logits_lose_nothing_under_autocast(name: str) -> None:
    exact = logits(ALGORITHMS[name]().double(), torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        for dtype in (torch.float32, torch.bfloat16):
            found = logits(ALGORITHMS[name](), dtype)
            torch.testing.assert_close(found.double(), exact, atol=1e-5 * exact.abs().max().item(), rtol=0)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_weights_in_half_precision_are_possible(name: str) -> None:
    exact = logits(ALGORITHMS[name]().double(), torch.float64)
    found = logits(ALGORITHMS[name]().bfloat16(), torch.bfloat16)
    torch.testing.assert_close(found.double(), exact, atol=0.02 * exact.abs().max().item(), rtol=0)
