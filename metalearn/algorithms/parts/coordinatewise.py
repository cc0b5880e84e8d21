"""Networks of learned optimisers: one small recurrent network, applied to every coordinate.

Features come first and the P coordinates last, (H, P). Each gate is then one contiguous block, and
the matrix products are wide. Everything runs under torch.vmap, which does not support nn.LSTMCell.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metalearn.types import Parameters

CellState = tuple[tuple[Tensor, Tensor], ...]
"""Two tensors of each layer, which a recurrent network keeps from step to step."""

PREPROCESS_P = 10.0
"""p of Andrychowicz et al. 2016, appendix A, and of Ravi and Larochelle 2017, section 3.2."""


def preprocess(x: Tensor) -> Tensor:
    """Maps numbers of any magnitude to size and direction, both of order 1: (...) -> (2, ...).

    Andrychowicz et al. 2016, appendix A: (log|x| / p, sgn(x)) where |x| >= exp(-p), else (-1,
    exp(p) x).
    """
    # Clamps cover both cases at once, and keep the derivative at 0 finite.
    size = x.abs().clamp_min(math.exp(-PREPROCESS_P)).log() / PREPROCESS_P
    direction = (x * math.exp(PREPROCESS_P)).clamp(-1, 1)
    return torch.stack([size, direction])


def flatten(params: Parameters, names: Sequence[str]) -> Tensor:
    """Concatenates the named weights into one vector of P coordinates."""
    return torch.cat([params[name].reshape(-1) for name in names])  # (P,)


def unflatten(flat: Tensor, names: Sequence[str], like: Parameters) -> Parameters:
    """Inverts `flatten`: (P,) -> the named weights, in their shapes in `like`."""
    parts = flat.split([like[name].numel() for name in names])
    return {name: part.view(like[name].shape) for name, part in zip(names, parts, strict=True)}


class Affine(nn.Module):
    """Linear layer with the features first: (I, P) -> (O, P)."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.linear.bias[:, None], self.linear.weight, x)


class AbstractCell(nn.Module, ABC):
    """Step of a recurrent network, applied to all coordinates at once and to each independently."""

    @abstractmethod
    def start(self, flat: Tensor) -> CellState:
        """Returns the state before the first step, for coordinates like those of `flat`, (P,)."""

    @abstractmethod
    def forward(self, x: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        """Maps input (I, P) and state to output (H, P) and the next state."""


class LSTM(AbstractCell):
    """LSTM layers (Hochreiter and Schmidhuber 1997); the state is each layer's output and cell.

    Args:
        num_inputs: features I of the input.
        hidden: units H of each layer.
        layers: number of layers.
    """

    def __init__(self, num_inputs: int, *, hidden: int, layers: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.ModuleList(
            Affine((hidden if layer else num_inputs) + hidden, 4 * hidden) for layer in range(layers)
        )

    def start(self, flat: Tensor) -> CellState:
        zeros = flat.new_zeros(self.hidden, len(flat))
        return tuple((zeros, zeros) for _ in self.gates)

    def forward(self, x: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        following = []
        for gates, (output, past) in zip(self.gates, state, strict=True):
            # (H, P) each, in torch's order
            into, keep, candidate, out = gates(torch.cat([x, output])).chunk(4)
            cell = keep.sigmoid() * past + into.sigmoid() * candidate.tanh()
            x = out.sigmoid() * cell.tanh()
            following.append((x, cell))
        return x, tuple(following)


class Transformer(AbstractCell):
    """Layers of causal self-attention over the steps so far, with one head each.

    Vaswani et al. 2017, arXiv 1706.03762. The state is the keys and values of the earlier steps, so
    a step attends to itself and to all earlier steps.

    Args:
        num_inputs: features I of the input.
        hidden: features H of each layer.
        layers: number of layers.
    """

    def __init__(self, num_inputs: int, *, hidden: int, layers: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.embed = Affine(num_inputs, hidden)
        self.layers = nn.ModuleList(TransformerLayer(hidden) for _ in range(layers))

    def start(self, flat: Tensor) -> CellState:
        empty = flat.new_zeros(0, self.hidden, len(flat))
        return tuple((empty, empty) for _ in self.layers)

    def forward(self, x: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        step = len(state[0][0])
        z = self.embed(x) + sinusoids(step, self.hidden, x.device).to(x.dtype)[:, None]  # (H, P)
        following = []
        for layer, past in zip(self.layers, state, strict=True):
            z, present = layer(z, *past)
            following.append(present)
        return normalise(z), tuple(following)


class TransformerLayer(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        # The layer has no bias, because a bias of the keys cancels in the softmax.
        self.attend = nn.Linear(hidden, 3 * hidden, bias=False)
        self.mix = Affine(hidden, hidden)
        self.widen, self.narrow = Affine(hidden, 2 * hidden), Affine(2 * hidden, hidden)

    def forward(self, z: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        query, key, value = (self.attend.weight @ normalise(z)).chunk(3)  # (H, P)
        keys, values = torch.cat([keys, key[None]]), torch.cat([values, value[None]])  # (steps, H, P)
        scores = (query * keys).sum(1) / math.sqrt(len(query))  # (steps, P)
        z = z + self.mix((scores.softmax(0)[:, None] * values).sum(0))
        z = z + self.narrow(self.widen(normalise(z)).relu())
        return z, (keys, values)


def normalise(z: Tensor) -> Tensor:
    """Scales the features to root mean square 1: (H, P) -> (H, P).

    Zhang and Sennrich 2019, arXiv 1910.07467.
    """
    return z * (z.square().mean(0) + 1e-5).rsqrt()


def sinusoids(step: int, width: int, device: torch.device) -> Tensor:
    """Encodes the position of a step, also beyond the steps of training: (width,).

    Vaswani et al. 2017, section 3.5.
    """
    feature = torch.arange(width, device=device)
    angle = step / 10000 ** (2 * (feature // 2) / width)
    return torch.where(feature % 2 == 0, angle.sin(), angle.cos())
