"""Fine-tuning from prototypes: its limits, moved weights, two papers, and choice of the rate."""

from collections.abc import Sequence

import pytest
import torch
from conftest import Command, episode
from embedded_tasks import random_task
from torch import nn
from torch.nn import functional as F

from metalearn.algorithms.finetune import HEAD, FineTune, mean_entropy
from metalearn.algorithms.parts.by_class import class_means
from metalearn.algorithms.prototypical import Prototypical
from metalearn.backbones.mlp import MLP
from metalearn.backbones.norm import rows
from metalearn.episodes.augmentation import Affine, Unchanged


def finetune(**settings: object) -> FineTune:
    torch.manual_seed(0)
    defaults = {"steps": 5, "lr": 0.01, "adapt": ["backbone"], "scale": 10.0, "augmentation": Unchanged()}
    defaults |= {"batch_norm": "running"}
    return FineTune(MLP([5], hidden=[6, 4]), **(defaults | settings)).double().eval()


@pytest.mark.parametrize("setting", [{"steps": 0}, {"lr": 0.0}])
def test_without_a_step_it_is_prototypical(setting: dict[str, float]) -> None:
    algorithm, task = finetune(**setting), random_task()
    other = Prototypical(algorithm.backbone, distance="cosine", temperature=0.1, batch_norm="running").eval()
    predict, expected = (each.adapt(task.support_z, task.support_y) for each in (algorithm, other))
    torch.testing.assert_close(predict(task.query_z), expected(task.query_z))
    assert not finetune(entropy=1.0, **setting).dependence().transductive


def test_small_steps_add_up_in_half_precision() -> None:
    algorithm, task = finetune().bfloat16(), random_task()

    def moves(dtype: torch.dtype) -> torch.Tensor:
        start = dict(algorithm.to(dtype).weights())
        end = algorithm.finetune(task.support_z.to(dtype), task.support_y.to(dtype), rate=1e-4)
        return torch.cat([(end[name] - weight).detach().flatten().float() for name, weight in start.items()])

    algorithm.steps = 50
    half, full = moves(torch.bfloat16), moves(torch.float32)
    assert (half - full).norm() < 0.5 * full.norm()


def naive(algorithm: FineTune, head_moves: bool, entropy: float = 0.0) -> torch.Tensor:
    """Computes the query logits after fine-tuning a copy of the backbone with torch alone."""
    task = random_task()
    backbone = MLP([5], hidden=[6, 4]).double()
    backbone.load_state_dict(algorithm.backbone.state_dict())
    support = len(task.support_z)

    def embed(x: torch.Tensor) -> torch.Tensor:
        moments = rows(algorithm.batch_norm, training=False, support=support)
        return backbone(torch.cat([task.support_z, x]), moments)[support:]

    head = nn.Parameter(class_means(embed(task.support_z), task.support_y).detach())
    weights = [*backbone.parameters(), head] if head_moves else [*backbone.parameters()]
    optimizer = torch.optim.Adam(weights, 0.01)

    def logits(x: torch.Tensor) -> torch.Tensor:
        means = head if head_moves else class_means(embed(task.support_z), task.support_y)
        return 10 * F.cosine_similarity(embed(x)[:, None], means, dim=-1)

    for _ in range(5):
        p = logits(task.query_z).softmax(1)
        loss = F.cross_entropy(logits(task.support_z), task.support_y) - entropy * (p * p.log()).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return logits(task.query_z).detach()


@pytest.mark.parametrize(
    ("settings", "head_moves"),
    [
        ({}, False),
        ({"adapt": ["backbone", HEAD]}, True),
        ({"adapt": [".*"], "entropy": 0.7}, True),
        ({"adapt": [".*"], "batch_norm": "support"}, True),
    ],
    ids=["P>M>F", "Dhillon", "transductive", "moments of the support set"],
)
def test_the_steps_are_those_of_adam_on_a_copy(settings: dict[str, object], head_moves: bool) -> None:
    algorithm, task = finetune(**settings), random_task()
    logits = algorithm.adapt(task.support_z, task.support_y)(task.query_z)
    entropy = float(settings.get("entropy", 0.0))
    torch.testing.assert_close(logits, naive(algorithm, head_moves, entropy), rtol=1e-5, atol=1e-5)
    assert all(weight.grad is None for weight in algorithm.parameters())


def test_only_what_adapt_names_moves() -> None:
    algorithm, task = finetune(adapt=["backbone.*bias", HEAD]), random_task()
    before, after = algorithm.weights(), algorithm.finetune(task.support_z, task.support_y, 0.01)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.endswith("bias")}
    assert HEAD in after


def test_an_augmentation_of_whole_classes_is_refused() -> None:
    def augmentation(images: torch.Tensor, random: torch.Tensor) -> torch.Tensor:
        return images

    augmentation.num_random = augmentation.num_of_class = 1  # type: ignore[attr-defined]
    remedy = "type augmentation=characters, and in a test pretrained=RUN instead of checkpoint=RUN"
    with pytest.raises(ValueError, match=f"function makes other classes of the support images .*: {remedy}"):
        finetune(augmentation=augmentation)
    augmentation.num_of_class = 0  # type: ignore[attr-defined]
    finetune(augmentation=augmentation)


def test_augmented_steps_are_the_same_in_every_call() -> None:
    augmentation = Affine(rotation=10, shear=0.3, scale=(0.8, 1.2), shift=0.1, share=0.5)
    torch.manual_seed(0)
    task = episode(tasks=1).tasks()[0]
    algorithm = FineTune(
        MLP(list(task.support_x.shape[1:]), hidden=[4]),
        steps=3,
        lr=0.1,
        adapt=[".*"],
        scale=10.0,
        augmentation=augmentation,
        batch_norm="running",
    ).eval()
    first, second = (algorithm.adapt(task.support_x, task.support_y)(task.query_x) for _ in range(2))
    assert torch.equal(first, second)
    algorithm.augmentation = Unchanged()
    assert not torch.equal(first, algorithm.adapt(task.support_x, task.support_y)(task.query_x))


def test_each_step_augments_the_images_by_numbers_of_its_own_equal_in_every_task() -> None:
    drawn: list[torch.Tensor] = []

    def augmentation(images: torch.Tensor, random: torch.Tensor) -> torch.Tensor:
        drawn.append(random)
        return images

    augmentation.num_random = 2  # type: ignore[attr-defined]
    algorithm, task = finetune(augmentation=augmentation, steps=3), random_task()
    for support in (task.support_z, -task.support_z):
        algorithm.adapt(support, task.support_y)
    assert torch.equal(torch.stack(drawn[:3]), torch.stack(drawn[3:]))
    numbers = torch.stack(drawn[:3])  # (steps, S, K)
    assert numbers.shape == (3, len(task.support_z), 2) and len(numbers.unique()) == numbers.numel()
    assert 0 <= numbers.min() < 0.2 and 0.8 < numbers.max() < 1


@pytest.mark.parametrize("entropy", [0.0, 1.0])
def test_it_is_transductive_where_the_entropy_counts(entropy: float) -> None:
    algorithm, task = finetune(entropy=entropy), random_task()
    predict = algorithm.adapt(task.support_z, task.support_y)
    alone = torch.cat([predict(query[None]) for query in task.query_z])
    assert torch.allclose(predict(task.query_z), alone) == (entropy == 0)
    assert algorithm.dependence().transductive == (entropy > 0)
    assert finetune(entropy=entropy, lr=[0.0, 0.01]).dependence().transductive == (entropy > 0)  # before a choice


def test_entropy_of_known_rows() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [100.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(mean_entropy(logits), torch.tensor(4.0).log() / 2)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"lr": []}, "lr="),
        ({"lr": [0.1, -1.0]}, "lr="),
        ({"steps": -1}, "steps"),
        ({"adapt": ["stem"]}, "algorithm.adapt"),
    ],
)
def test_impossible_settings_are_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        finetune(**setting)


def test_one_of_several_rates_is_chosen_and_kept() -> None:
    rates: Sequence[float] = (0.0, 0.01, 0.1)
    algorithm, task = finetune(lr=rates), random_task()
    with pytest.raises(ValueError, match="chooses one on meta-val"):
        algorithm.adapt(task.support_z, task.support_y)
    predictions = [predict(task.query_z) for predict in algorithm.candidates(task.support_z, task.support_y)]
    algorithm.choose(1)
    torch.testing.assert_close(algorithm.adapt(task.support_z, task.support_y)(task.query_z), predictions[1])
    other = finetune(lr=rates)
    other.load_state_dict(algorithm.state_dict())
    torch.testing.assert_close(other.adapt(task.support_z, task.support_y)(task.query_z), predictions[1])


def test_a_run_keeps_the_rate_that_is_best_on_meta_val(metalearn: Command) -> None:
    finished = metalearn("algorithm=finetune", "algorithm.steps=2", "algorithm.lr=[0.0,1000.0]")
    assert finished.code == 0, finished.text
    assert finished.checkpoint("best")["state_dict"]["algorithm.rate"] == 0
    assert finished.result["val"]["accuracy"]["mean"] > 0.2
