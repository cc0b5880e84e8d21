"""MAML++.

Antreas Antoniou, Harrison Edwards, Amos Storkey. How to train your MAML. ICLR 2019, arXiv
1810.09502. MAML becomes stable and fast through a loss after each inner step, learned rates for
each layer and step, batch normalisation with parameters for each step, and first order before
second. Transductive as published: batch statistics of the queries.
"""

import torch
from torch import Tensor, nn

from metalearn.algorithms.gradient import AbstractGradient, InnerLoop
from metalearn.algorithms.parts.checks import check_at_least
from metalearn.algorithms.parts.execution import DEFAULT, Execution
from metalearn.algorithms.parts.functional import functional_call
from metalearn.algorithms.parts.network import Classifier
from metalearn.backbones import norm
from metalearn.backbones.base import AbstractBackbone
from metalearn.losses import Problem
from metalearn.types import Episode, Parameters, TaskOutput


class MAMLPlusPlus(AbstractGradient):
    """MAML++ of Antoniou et al. 2019: five changes of MAML, with four switches.

    Args:
        backbone: network under the linear head.
        way: number of logits of the linear head.
        inner_lr: initial value of the rates, in units of the mean cross-entropy.
        learn_rates: whether to learn a rate for each adapted tensor and step (LSLR).
        adapt_norm: whether the inner loop also moves weights of normalisation layers that
            `inner_loop.adapt` selects; it excludes `norm_per_step`.
        norm_per_step: whether batch normalisation has weights, and in mode `running` moments, for
            each step (BNWB, BNRS).
        multi_step_until: fraction of the training over which the loss moves from the mean over all
            steps to the last step alone (MSL); 0 disables it.
        first_order_until: initial fraction of the training that leaves out the second derivatives
            (DA); 0 disables it.
        inner_loop: number of steps, and the weights that they move.
        execution: how the tasks of a batch are computed.
        batch_norm: moments of batch normalisation.
        problem: classification or regression.

    Examples:
        >>> import torch
        >>> from metalearn import InnerLoop, MLP
        >>> loop = InnerLoop(steps=1, test_steps=3)
        >>> algorithm = MAMLPlusPlus(
        ...     MLP([4]), way=5, inner_lr=0.1, learn_rates=True, adapt_norm=False,
        ...     norm_per_step=True, multi_step_until=0.1, first_order_until=0.5,
        ...     inner_loop=loop, batch_norm="batch"
        ... ).eval()
        >>> predict = algorithm.adapt(torch.randn(5, 4), torch.eye(5))  # 5-way 1-shot
        >>> predict(torch.randn(15, 4)).shape  # (Q, N)
        torch.Size([15, 5])
    """

    replaces_backbone = ("norms.",)  # the head has no normalisation

    def __init__(
        self,
        backbone: AbstractBackbone,
        *,
        way: int,
        inner_lr: float,
        learn_rates: bool,
        adapt_norm: bool,
        norm_per_step: bool,
        multi_step_until: float,
        first_order_until: float,
        inner_loop: InnerLoop,
        execution: Execution = DEFAULT,
        batch_norm: norm.Moments,
        problem: Problem = "classification",
    ) -> None:
        super().__init__(
            Classifier(backbone, way),
            inner_loop=inner_loop,
            execution=execution,
            batch_norm=batch_norm,
            problem=problem,
            norm_per_step=norm_per_step,
        )
        check_at_least(0, inner_lr=inner_lr)
        check_at_least(1, **{"inner_loop.steps": inner_loop.steps})
        if adapt_norm and norm_per_step:
            raise ValueError(
                "adapt_norm=true has no effect with norm_per_step=true, where each step has weights of its own: "
                "set one of them to false"
            )
        if not (0 <= multi_step_until <= 1 and 0 <= first_order_until <= 1):
            raise ValueError(f"multi_step_until={multi_step_until} and {first_order_until=} must be in 0..1")
        if not adapt_norm:
            norms = norm.weights_of_norms(self.network)
            self.adapted = [name for name in self.adapted if name not in norms]
        if not self.adapted:
            raise ValueError(
                "inner_loop.adapt names weights of normalisation layers alone, which adapt_norm=false leaves out: "
                "name other weights"
            )
        self.multi_step_until, self.first_order_until = multi_step_until, first_order_until
        rates = torch.full((inner_loop.steps, len(self.adapted)), float(inner_lr))  # (steps, layers)
        self.rates = nn.Parameter(rates, requires_grad=learn_rates)
        self.norms = NormOfStep(self.network, inner_loop.steps) if norm_per_step else None

    def start(self, params: Parameters, support_x: Tensor, support_y: Tensor) -> tuple[Parameters, int]:
        return self._at(0, params), 0

    def update(self, params: Parameters, grads: Parameters, loss: Tensor, state: int) -> tuple[Parameters, int]:
        # Steps beyond the number used in training reuse the last rates.
        rates = self.rates[min(state, self.inner_loop.steps - 1)]  # (layers,)
        moved = {name: params[name] - rate * grads[name] for name, rate in zip(self.adapted, rates, strict=True)}
        return self._at(state + 1, params | moved), state + 1

    def loss(self, batch: Episode) -> TaskOutput:
        theta, num_steps = self.weights(), self.inner_loop.steps
        first_order = self.inner_loop.first_order or self.done < self.first_order_until
        importance = step_importance(num_steps, self.done / self.multi_step_until if self.multi_step_until else 1.0)
        # Index of the first step whose loss counts.
        first = 0 if importance[0] > 0 else num_steps - 1
        # The importances are a tensor, because a compiled program would be recompiled for each new
        # Python number. They are filled on the device, because the host would wait for a copy.
        weights = torch.stack([batch.query_y.new_full((), weight) for weight in importance[first:]])

        def task(support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> tuple[Tensor, Tensor]:
            loss = query_y.new_zeros(())
            _, *steps = self.steps(theta, support_x, support_y, num_steps, first_order=first_order)
            for (phi, _), weight in zip(steps[first:], weights, strict=True):
                logits = self.predict(phi, support_x, query_x)  # (Q, N)
                loss = loss + weight * self.objective.loss(logits, query_y)
            return loss, logits

        output = self.mean_loss(task, batch)
        if self.norms is None:
            self.track_moments(batch)
        elif self.batch_norm == "running":
            self._track_by_step(self.norms, batch)
        return output

    def _at(self, step: int, params: Parameters) -> Parameters:
        """Replaces the batch normalisation of θ by that of a step."""
        return params if self.norms is None else params | self.norms.at(step)

    @torch.no_grad()
    def _track_by_step(self, norms: "NormOfStep", batch: Episode) -> None:
        """Updates each step's running moments under that step's weights, averaged over tasks."""
        tracked: list[list[Parameters]] = []  # (T, steps + 1)
        for task in batch.tasks():
            x = torch.cat([task.support_x, task.query_x])  # (S + Q, *X)
            tracked.append([])
            for params, _ in self.steps(self.weights(), task.support_x, task.support_y, self.inner_loop.steps):
                moments = {name: params[name].clone() for name in norms.moment_names}
                functional_call(self.network, params | moments, (x, norm.Rows(track=True)))  # updates the clones
                tracked[-1].append(moments)
        for index, name in enumerate(norms.moment_names):
            moved = torch.stack([torch.stack([step[name] for step in task]) for task in tracked])  # (T, steps + 1, C)
            norms.get_buffer(f"moment_{index}").copy_(moved.mean(0))


class NormOfStep(nn.Module):
    """Weights and running moments of all batch normalisations, for each inner step.

    A frozen one keeps its own.

    Args:
        network: network whose BatchNorm modules are copied.
        num_steps: number of inner steps; each tensor has num_steps + 1 rows.
    """

    def __init__(self, network: nn.Module, num_steps: int) -> None:
        super().__init__()
        self.num_steps = num_steps
        norms = [
            name for name, module in network.named_modules() if isinstance(module, norm.BatchNorm) and not module.fixed
        ]
        self.weight_names = [f"{name}.{part}" for name in norms for part in ("weight", "bias")]
        self.moment_names = [f"{name}.{part}" for name in norms for part in ("running_mean", "running_var")]
        self.weights = nn.ParameterList()
        for name in self.weight_names:
            # The copies replace the network's own weights, which no longer train.
            weight = network.get_parameter(name).requires_grad_(False)
            self.weights.append(weight.detach().repeat(num_steps + 1, 1))  # (steps + 1, C)
        for index, name in enumerate(self.moment_names):
            self.register_buffer(f"moment_{index}", network.get_buffer(name).repeat(num_steps + 1, 1))

    def at(self, step: int) -> Parameters:
        """Returns weights and moments after `step` steps, by their names in the network.

        Steps beyond `num_steps` reuse the last ones.
        """
        tensors = [*self.weights, *(self.get_buffer(f"moment_{i}") for i in range(len(self.moment_names)))]
        step = min(step, self.num_steps)
        return {name: values[step] for name, values in zip(self.weight_names + self.moment_names, tensors, strict=True)}


def step_importance(num_steps: int, annealed: float) -> list[float]:
    """Computes the weight of the query loss after each inner step.

    The weights start equal. When `annealed` reaches 1, only the last step counts.
    """
    early = max(1 - annealed, 0.0) / num_steps
    return [early] * (num_steps - 1) + [1 - early * (num_steps - 1)]
