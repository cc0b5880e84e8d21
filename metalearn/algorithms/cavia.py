"""Fast Context Adaptation via Meta-Learning (CAVIA).

Luisa Zintgraf, Kyriacos Shiarlis, Vitaly Kurin, Katja Hofmann, Shimon Whiteson. Fast Context
Adaptation via Meta-Learning. ICML 2019, arXiv 1810.03642. The inner loop moves only a few context
parameters, which start at zero in every task. They modulate a network that all tasks share.
Transductive as published, like MAML.
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from metalearn.algorithms.gradient import AbstractGradient, InnerLoop, descend
from metalearn.algorithms.parts.checks import check_at_least, check_choice
from metalearn.algorithms.parts.execution import DEFAULT, Execution
from metalearn.algorithms.parts.network import AbstractNetwork
from metalearn.backbones import norm
from metalearn.backbones.base import AbstractBackbone, checked
from metalearn.losses import Problem
from metalearn.types import Episode, Parameters, TaskOutput

Modulation = Literal["film", "concatenate"]

MODULATED = (norm.BatchNorm, nn.Conv1d, nn.Conv2d, nn.Linear)
"""Layers whose axis of channels is known: the last one of nn.Linear, the second of the others."""


class Conditioned(AbstractNetwork):
    """Backbone with a linear head, one layer of which is modulated by the context φ.

    Args:
        backbone: network under the linear head.
        way: number of logits of the linear head.
        context: K, the number of context parameters.
        layer: name of the modulated layer of the backbone, one of `MODULATED`.
        modulation: `concatenate` puts φ beside the input of the layer, which adds W φ to its
            output. `film` scales and shifts each channel of the output by linear functions of φ.
    """

    def __init__(
        self, backbone: AbstractBackbone, way: int, *, context: int, layer: str, modulation: Modulation
    ) -> None:
        super().__init__()
        check_choice(get_args(Modulation), modulation=modulation)
        check_at_least(1, context=context)
        self.backbone, self.way = checked(backbone), way
        channels = {name: len(part.weight) for name, part in backbone.named_modules() if isinstance(part, MODULATED)}
        if layer not in channels:
            raise ValueError(
                f"algorithm.layer: no convolution, linear layer or batch normalisation is called {layer!r}; "
                f"choose from {', '.join(channels) or 'the layers of another backbone'}"
            )
        self.layer = layer
        self.context = nn.Parameter(torch.zeros(context), requires_grad=False)  # φ, (K,), zero before each task
        films = modulation == "film"
        self.modulate = nn.Linear(context, (1 + films) * channels[layer], bias=films)
        self.head = nn.Linear(backbone.num_features, way)

    def forward(self, x: Tensor, rows: norm.Rows | None) -> Tensor:  # (B, *X) -> (B, N)
        hook = self.backbone.get_submodule(self.layer).register_forward_hook(self._modulated)
        try:
            return self.head(self.backbone(x, rows))
        finally:
            hook.remove()

    def _modulated(self, layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        numbers = self.modulate(self.context)  # (C,) or (2 C,)
        channels, *places = output.shape[-1:] if isinstance(layer, nn.Linear) else output.shape[1:]
        parts = [part.view(-1, *(1 for _ in places)) for part in numbers.split(channels)]
        if len(parts) == 1:
            return output + parts[0]
        return output * (1 + parts[0]) + parts[1]


class CAVIA(AbstractGradient):
    """CAVIA of Zintgraf et al. 2019.

    Args:
        backbone: network under the linear head.
        way: number of logits of the linear head.
        context: see `Conditioned`.
        layer: see `Conditioned`.
        modulation: see `Conditioned`.
        inner_lr: step size of the context parameters, in units of the mean loss.
        inner_loop: number of steps, and the weights that they move.
        execution: how the tasks of a batch are computed.
        batch_norm: moments of batch normalisation.
        problem: classification or regression.

    Examples:
        >>> import torch
        >>> from metalearn import InnerLoop, MLP
        >>> loop = InnerLoop(steps=2, test_steps=2, adapt=["context"])
        >>> algorithm = CAVIA(
        ...     MLP([4]), way=5, context=10, layer="layers.2", modulation="film", inner_lr=1.0,
        ...     inner_loop=loop, batch_norm="batch"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replayable = True

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        way: int,
        context: int,
        layer: str,
        modulation: Modulation,
        inner_lr: float,
        inner_loop: InnerLoop,
        execution: Execution = DEFAULT,
        batch_norm: norm.Moments,
        problem: Problem = "classification",
    ) -> None:
        network = Conditioned(backbone, way, context=context, layer=layer, modulation=modulation)
        super().__init__(network, inner_loop=inner_loop, execution=execution, batch_norm=batch_norm, problem=problem)
        if self.adapted != ["context"]:
            raise ValueError("cavia moves the context parameters alone; inner_loop.adapt must be ['context']")
        check_at_least(0, inner_lr=inner_lr)
        self.inner_lr = inner_lr

    def start(self, params: Parameters, support_x: Tensor, support_y: Tensor) -> tuple[Parameters, None]:
        return params, None

    def update(self, params: Parameters, grads: Parameters, loss: Tensor, state: None) -> tuple[Parameters, None]:
        return descend(params, grads, self.inner_lr), None  # eq. 5

    def loss(self, batch: Episode) -> TaskOutput:
        return self.query_loss(batch)  # eq. 6
