"""SNAIL and in-context learning: definitions row by row, and dependence of the answers."""

import pytest
import torch
from conftest import composed
from torch import Tensor, nn

from metalearn.algorithms.in_context import InContext, simplex
from metalearn.algorithms.metric import AbstractMetric
from metalearn.algorithms.parts.attention import Attention
from metalearn.algorithms.snail import SNAIL, AttentionBlock, DenseBlock, TemporalBlock
from metalearn.backbones.mlp import MLP
from metalearn.types import Episode

WAY = 3


def learner(name: str) -> AbstractMetric:
    torch.manual_seed(0)
    backbone = MLP([5], hidden=[6], norm=False)
    if name == "in_context":
        return InContext(backbone, way=WAY, width=8, layers=2, heads=2, batch_norm="running").eval()
    widths = [[4, 3], [4, 3], [4, 3]]
    return SNAIL(backbone, way=WAY, width=6, filters=4, support=4, attention=widths, batch_norm="running").eval()


def task(shot: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(WAY * shot, 5), torch.eye(WAY).repeat(shot, 1), torch.randn(4, 5)


@pytest.mark.parametrize("name", ["in_context", "snail"])
def test_a_query_is_answered_as_if_it_were_alone(name: str) -> None:
    support_x, support_y, query_x = task()
    predict = learner(name).adapt(support_x, support_y)
    alone = torch.cat([predict(row) for row in query_x.split(1)])
    torch.testing.assert_close(predict(query_x), alone)


@pytest.mark.parametrize("name", ["in_context", "snail"])
def test_every_support_row_and_its_label_matters(name: str) -> None:
    support_x, support_y, query_x = task()
    algorithm = learner(name)
    answer = algorithm.adapt(support_x, support_y)(query_x)
    for row in range(len(support_x)):
        moved = support_x.clone()
        moved[row] += 3.0
        assert not torch.allclose(algorithm.adapt(moved, support_y)(query_x), answer, atol=1e-6)
    swapped = support_y[:, [1, 0, 2]]
    assert not torch.allclose(algorithm.adapt(support_x, swapped)(query_x), answer, atol=1e-6)


def test_labels_have_equal_length_and_equal_angles() -> None:
    for way in (2, 5, 20):
        cosines = simplex(way) @ simplex(way).T
        expected = torch.full((way, way), -1 / (way - 1)).fill_diagonal_(1.0)  # no smaller one is possible for all
        torch.testing.assert_close(cosines, expected)


def copy_attention(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())


def test_attention_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = Attention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    copy_attention(ours, theirs)
    query, key, value = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    torch.testing.assert_close(ours(query, key, value), theirs(query, key, value)[0])
    with pytest.raises(ValueError, match="heads=3 must divide width=8"):
        Attention(8, 3)


def test_in_context_learning_is_a_transformer_of_torch_on_images_beside_labels() -> None:
    algorithm, (support_x, support_y, query_x) = learner("in_context"), task()
    for weight in algorithm.parameters():
        nn.init.normal_(weight)
    layers = []
    for layer in algorithm.layers:
        theirs = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True)
        copy_attention(layer.attention, theirs.self_attn)
        parts = (layer.before_attention, layer.before_network, layer.network[0], layer.network[2])
        for own, other in zip(parts, (theirs.norm1, theirs.norm2, theirs.linear1, theirs.linear2), strict=True):
            other.load_state_dict(own.state_dict())
        layers.append(theirs)
    z = algorithm.backbone(torch.cat([support_x, query_x[:1]]))
    labels = torch.cat([support_y @ simplex(WAY), algorithm.unknown[None]])
    read = nn.Sequential(*layers)(algorithm.token(torch.cat([z, labels], 1))[None])[0, -1]
    expected = algorithm.head(algorithm.norm(read))
    torch.testing.assert_close(algorithm.adapt(support_x, support_y)(query_x)[0], expected)


def convolved(block: DenseBlock, rows: list[Tensor]) -> list[Tensor]:
    """Computes a dense block of section 3.1 row by row."""
    out = []
    for i, row in enumerate(rows):
        earlier = block.before(rows[i - block.dilation]) if i >= block.dilation else 0.0
        content, gate = (block.now(row) + earlier).chunk(2)
        out.append(torch.cat([row, content.tanh() * gate.sigmoid()]))
    return out


def attended(block: AttentionBlock, rows: list[Tensor]) -> list[Tensor]:
    """Computes an attention block of section 3.1 row by row; its keys have 4 numbers."""
    out = []
    for i, row in enumerate(rows):
        weights = torch.stack([(block.query(row) @ block.key(other) / 4**0.5).exp() for other in rows[: i + 1]])
        read = sum(weight * block.value(other) for weight, other in zip(weights, rows[: i + 1], strict=True))
        out.append(torch.cat([row, read / weights.sum()]))
    return out


def test_snail_against_a_loop_over_the_rows() -> None:
    algorithm, (support_x, support_y, query_x) = learner("snail"), task()
    for weight in algorithm.parameters():
        nn.init.normal_(weight, std=0.5)
    first, convolution, second, other_convolution, third = algorithm.blocks
    order = support_y.argmax(1).argsort(stable=True)
    z = algorithm.embedding(algorithm.backbone(torch.cat([support_x[order], query_x[:1]])))
    rows = attended(first, [*torch.cat([z, torch.cat([support_y[order], torch.zeros(1, WAY)])], 1)])
    for blocks, attention in ((convolution, second), (other_convolution, third)):
        assert [block.dilation for block in blocks] == [1, 2, 4]
        for block in blocks:
            rows = convolved(block, rows)
        rows = attended(attention, rows)
    torch.testing.assert_close(algorithm.adapt(support_x, support_y)(query_x)[0], algorithm.head(rows[-1]))


@pytest.mark.parametrize("block", [AttentionBlock(4, 3, 2), TemporalBlock(4, 3, 8)])
def test_a_row_sees_those_before_it_and_none_after(block: nn.Module) -> None:
    x = torch.randn(1, 8, 4, requires_grad=True)
    for row in range(8):
        (gradient,) = torch.autograd.grad(block(x)[0, row].sum(), x)
        seen = gradient[0].abs().sum(1) > 0
        assert seen.tolist() == [other <= row for other in range(8)]


def test_a_convolution_reaches_its_span_and_no_farther() -> None:
    x = torch.randn(1, 12, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(TemporalBlock(4, 3, 8)(x)[0, -1].sum(), x)
    assert (gradient[0].abs().sum(1) > 0).tolist() == [False] * 4 + [True] * 8


def test_snail_reaches_over_the_largest_support_set_of_a_range() -> None:
    assert composed("algorithm=snail", "episode.train.shot=[1,3]").algorithm.support == 15


def test_in_context_learning_of_points_reads_their_values() -> None:
    torch.manual_seed(0)
    backbone = MLP([2], hidden=[6], norm=False)
    more = {"width": 8, "layers": 2, "heads": 2, "batch_norm": "running", "problem": "regression"}
    algorithm = InContext(backbone, way=1, **more)
    batch = Episode(torch.randn(3, 4, 2), torch.randn(3, 4, 1), torch.randn(3, 5, 2), torch.randn(3, 5, 1))
    loss, outputs = algorithm.loss(batch)
    assert outputs is not None
    torch.testing.assert_close(loss, (outputs - batch.query_y).square().mean())
    order = torch.tensor([2, 0, 3, 1])
    alike = algorithm.adapt(batch.support_x[0][order], batch.support_y[0][order])(batch.query_x[0])
    torch.testing.assert_close(alike, outputs[0])
    changed = algorithm.adapt(batch.support_x[0], batch.support_y[0] + 1)(batch.query_x[0])
    assert not torch.allclose(changed, outputs[0], atol=1e-6)
