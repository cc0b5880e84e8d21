"""Coordinatewise networks: against those of torch, and without access to other coordinates."""

import math

import pytest
import torch
from torch import Tensor, nn

from metalearn.algorithms.parts.coordinatewise import LSTM, AbstractCell, Transformer, flatten, preprocess, unflatten

COORDINATES = 7


@pytest.fixture(params=[LSTM, Transformer])
def cell(request: pytest.FixtureRequest) -> AbstractCell:
    torch.manual_seed(0)
    return request.param(2, hidden=4, layers=2).double()


def run(cell: AbstractCell, gradients: Tensor) -> Tensor:
    """Returns the outputs of a cell over steps: (steps, I, P) -> (steps, H, P)."""
    state, outputs = cell.start(gradients[0, 0]), []
    for x in gradients:
        output, state = cell(x, state)
        outputs.append(output)
    return torch.stack(outputs)


def history(num_inputs: int = 2, steps: int = 4) -> Tensor:
    return torch.randn(steps, num_inputs, COORDINATES, generator=torch.Generator().manual_seed(1)).double()


def test_preprocessing_against_the_formula() -> None:
    p = 10.0
    numbers = [0.0, 1e-9, -1e-9, 4e-5, -4e-5, 5e-5, -5e-5, 0.3, -0.3, 1.0, -7.0, 1e6, math.exp(-p)]
    pairs = preprocess(torch.tensor(numbers, dtype=torch.float64))
    for x, pair in zip(numbers, pairs.T, strict=True):
        large = abs(x) >= math.exp(-p)
        expected = (math.log(abs(x)) / p, math.copysign(1, x)) if large else (-1.0, math.exp(p) * x)
        assert pair.tolist() == pytest.approx(expected)


def test_preprocessing_has_a_finite_derivative_everywhere() -> None:
    x = torch.tensor([0.0, 1e-30, -1e-30, 1.0], requires_grad=True)
    preprocess(x).sum().backward()
    assert torch.isfinite(x.grad).all()  # type: ignore[arg-type]


def test_flatten_and_back() -> None:
    params = {"a": torch.randn(2, 3), "b": torch.randn(()), "c": torch.randn(4, 1, 2).transpose(0, 2)}
    names = ["c", "a"]
    flat = flatten(params, names)
    assert flat.shape == (14,)
    back = unflatten(flat, names, params)
    assert list(back) == names
    assert all(torch.equal(back[name], params[name]) for name in names)


def test_lstm_equals_that_of_torch_with_the_same_weights() -> None:
    torch.manual_seed(0)
    ours = LSTM(2, hidden=5, layers=2).double()
    theirs = nn.LSTM(2, 5, num_layers=2).double()
    for layer, gates in enumerate(ours.gates):
        width = 5 if layer else 2
        with torch.no_grad():
            getattr(theirs, f"weight_ih_l{layer}").copy_(gates.linear.weight[:, :width])
            getattr(theirs, f"weight_hh_l{layer}").copy_(gates.linear.weight[:, width:])
            getattr(theirs, f"bias_ih_l{layer}").copy_(gates.linear.bias)
            getattr(theirs, f"bias_hh_l{layer}").zero_()
    x = history()
    expected, _ = theirs(x.transpose(1, 2))  # (steps, P, H): the coordinates are torch's batch
    torch.testing.assert_close(run(ours, x), expected.transpose(1, 2))


def test_transformer_against_attention_of_torch_over_the_whole_history() -> None:
    torch.manual_seed(0)
    cell = Transformer(2, hidden=6, layers=1).double()
    (layer,) = cell.layers
    x = history()
    steps = len(x)
    position = torch.tensor(
        [
            [f(step / 10000 ** (2 * (i // 2) / 6)) for i, f in enumerate([math.sin, math.cos] * 3)]
            for step in range(steps)
        ]
    ).double()  # (steps, H)
    z = torch.stack([cell.embed(part) for part in x]) + position[:, :, None]
    z = z.permute(2, 0, 1)  # (P, steps, H): each coordinate is a sequence
    norm = nn.RMSNorm(6, eps=1e-5, elementwise_affine=False).double()
    attended = nn.functional.scaled_dot_product_attention(
        *(norm(z) @ layer.attend.weight.T).chunk(3, dim=-1), is_causal=True
    )
    z = z + layer.mix.linear(attended)
    z = z + layer.narrow.linear(layer.widen.linear(norm(z)).relu())
    torch.testing.assert_close(run(cell, x), norm(z).permute(1, 2, 0))


def test_later_gradients_do_not_change_earlier_outputs(cell: AbstractCell) -> None:
    x = history()
    other = x.clone()
    other[2:] += 1
    assert torch.equal(run(cell, x)[:2], run(cell, other)[:2])
    assert not torch.allclose(run(cell, x)[2:], run(cell, other)[2:])


def test_earlier_gradients_change_later_outputs(cell: AbstractCell) -> None:
    x = history()
    other = x.clone()
    other[0] += 1
    assert not torch.allclose(run(cell, x)[3], run(cell, other)[3])


def test_permuting_the_coordinates_permutes_the_outputs(cell: AbstractCell) -> None:
    x, order = history(), torch.randperm(COORDINATES)
    torch.testing.assert_close(run(cell, x[..., order]), run(cell, x)[..., order])


def test_a_coordinate_knows_nothing_of_the_others(cell: AbstractCell) -> None:
    x = history()
    other = x.clone()
    other[..., 0] += 1
    torch.testing.assert_close(run(cell, x)[..., 1:], run(cell, other)[..., 1:])
    assert not torch.allclose(run(cell, x)[..., 0], run(cell, other)[..., 0])
