"""The timed works: training steps on one batch each, and the evaluation of test episodes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metalearn.data.bank import ClassBank
from metalearn.types import Episode

INNER_LR = 0.1
WAY, SHOT, QUERY = 5, 1, 15  # shape of a test episode
CLASSES, PER_CLASS = 423, 20  # unrotated meta-test characters of Omniglot (Vinyals et al. 2016)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A training step: prototypical without inner steps, else second-order MAML."""

    title: str
    tasks: int
    way: int
    query: int
    inner_steps: int = 0
    shot: int = 1
    input_shape: tuple[int, int, int] = (1, 28, 28)
    backbone: Literal["conv4", "resnet12"] = "conv4"


STEPS = {
    "prototypical": Step(title="ProtoNet step, 60-way 1-shot 5 queries", tasks=1, way=60, query=5),
    "maml": Step(
        title="MAML step, 32 tasks, 5-way 1-shot 1 query, 1 inner step", tasks=32, way=5, query=1, inner_steps=1
    ),
    "maml_5": Step(
        title="MAML step, 4 tasks, 5-way 1-shot 15 queries, 5 inner steps", tasks=4, way=5, query=15, inner_steps=5
    ),
    "conv4_84": Step(
        title="ProtoNet step, 84 x 84 pixels in colour, Conv4, 5-way 5-shot 15 queries",
        tasks=1, way=5, shot=5, query=15, input_shape=(3, 84, 84),
    ),
    "resnet12_84": Step(
        title="ProtoNet step, 84 x 84 pixels in colour, ResNet-12, 5-way 1-shot 5 queries",
        tasks=1, way=5, query=5, input_shape=(3, 84, 84), backbone="resnet12",
    ),
}  # fmt: skip
EVALUATION = "evaluation"
MANY = 100_000  # episodes of a further evaluation by metalearn alone


def batch_of(step: Step, device: str = "cpu") -> Episode:
    """Draws the batch, equal for all sides, float32."""
    generator = torch.Generator().manual_seed(0)

    def rows(per_class: int) -> tuple[Tensor, Tensor]:
        y = F.one_hot(torch.arange(step.way).repeat(per_class), step.way).float().expand(step.tasks, -1, -1)
        return torch.rand(step.tasks, step.way * per_class, *step.input_shape, generator=generator), y

    return Episode(*(part.to(device) for part in (*rows(step.shot), *rows(step.query))))


def bank() -> ClassBank:
    """Draws classes that an untrained network classifies above chance: a noisy picture each."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, size=(CLASSES, 1, 1, 28, 28))
    noise = rng.normal(0, 80, size=(CLASSES, PER_CLASS, 1, 28, 28))
    images = (pictures + noise).clip(0, 255).astype(np.uint8)
    return ClassBank.from_classes(images, [f"class{i}" for i in range(CLASSES)])
