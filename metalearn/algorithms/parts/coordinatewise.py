"""What learned optimisers share: one small recurrent network that works on every coordinate of the weights alike.

Features come first and the P coordinates last, (H, P): a gate is then one contiguous block, and the matrix products are
wide. Everything runs under torch.vmap, where nn.LSTMCell does not.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metalearn.types import Parameters

PREPROCESS_P = 10.0
"""p of Andrychowicz et al. 2016, appendix A; Ravi and Larochelle 2017, section 3.2, take the same."""


def preprocess(x: Tensor, p: float = PREPROCESS_P) -> Tensor:
    """Size and direction of numbers of any magnitude, both within reach of a network: (...) -> (2, ...).

    Andrychowicz et al. 2016, appendix A: (log|x| / p, sgn(x)) where |x| >= exp(-p), else (-1, exp(p) x).
    """
    # Clamps say both cases at once, and keep the derivative at 0 finite.
    size = x.abs().clamp_min(math.exp(-p)).log() / p
    direction = (x * math.exp(p)).clamp(-1, 1)
    return torch.stack([size, direction])


def flatten(params: Parameters, names: Sequence[str]) -> Tensor:
    """The named weights as one vector of all their P coordinates."""
    return torch.cat([params[name].reshape(-1) for name in names])  # (P,)


def unflatten(flat: Tensor, names: Sequence[str], like: Parameters) -> Parameters:
    """The inverse of `flatten`: (P,) -> the named weights in the shapes that they have in `like`."""
    parts = flat.split([like[name].numel() for name in names])
    return {name: part.view(like[name].shape) for name, part in zip(names, parts, strict=True)}


class Affine(nn.Module):
    """nn.Linear with the features first: (I, P) -> (O, P)."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.linear.bias[:, None], self.linear.weight, x)


class AbstractCell(nn.Module, ABC):
    """One step of a recurrent network, for all coordinates at once and for each by itself."""

    @abstractmethod
    def start(self, flat: Tensor) -> Any:
        """The state before the first step, of coordinates like those of `flat`, (P,)."""

    @abstractmethod
    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """(I, P) and the state -> output (H, P) and the next state."""


class LSTM(AbstractCell):
    """Layers of LSTM (Hochreiter and Schmidhuber 1997) of `hidden` units; the state is output and cell of each."""

    def __init__(self, num_inputs: int, *, hidden: int, layers: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.ModuleList(
            Affine((hidden if layer else num_inputs) + hidden, 4 * hidden) for layer in range(layers)
        )

    def start(self, flat: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        zeros = flat.new_zeros(self.hidden, len(flat))
        return tuple((zeros, zeros) for _ in self.gates)

    def forward(
        self, x: Tensor, state: tuple[tuple[Tensor, Tensor], ...]
    ) -> tuple[Tensor, tuple[tuple[Tensor, Tensor], ...]]:
        following = []
        for gates, (output, past) in zip(self.gates, state, strict=True):
            into, keep, candidate, out = gates(torch.cat([x, output])).chunk(4)  # (H, P) each, in the order of torch
            cell = keep.sigmoid() * past + into.sigmoid() * candidate.tanh()
            x = out.sigmoid() * cell.tanh()
            following.append((x, cell))
        return x, tuple(following)


class Transformer(AbstractCell):
    """Layers of causal self-attention over the steps so far (Vaswani et al. 2017, arXiv 1706.03762), one head each.

    The state is the keys and values of the earlier steps, so a step attends to itself and to what came before.
    """

    def __init__(self, num_inputs: int, *, hidden: int, layers: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.embed = Affine(num_inputs, hidden)
        self.layers = nn.ModuleList(TransformerLayer(hidden) for _ in range(layers))

    def start(self, flat: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        empty = flat.new_zeros(0, self.hidden, len(flat))
        return tuple((empty, empty) for _ in self.layers)

    def forward(
        self, x: Tensor, state: tuple[tuple[Tensor, Tensor], ...]
    ) -> tuple[Tensor, tuple[tuple[Tensor, Tensor], ...]]:
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
        # No bias: one of the keys would cancel out in the softmax.
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
    """To root mean square 1 over the features, (H, P) -> (H, P): Zhang and Sennrich 2019, arXiv 1910.07467."""
    return z * (z.square().mean(0) + 1e-5).rsqrt()


def sinusoids(step: int, width: int, device: torch.device) -> Tensor:
    """The position of a step, also beyond those seen in training: (width,). Vaswani et al. 2017, section 3.5."""
    feature = torch.arange(width, device=device)
    angle = step / 10000 ** (2 * (feature // 2) / width)
    return torch.where(feature % 2 == 0, angle.sin(), angle.cos())
