"""Generator of support embeddings: its start, its definition, and the source of its noise."""

import pytest
import torch
from embedded_tasks import Flat, batch_of, compare, random_task

from metalearn.algorithms.hallucination import Hallucination
from metalearn.algorithms.prototypical import Prototypical
from metalearn.losses import cross_entropy


def hallucination(num_generated: int = 3) -> Hallucination:
    torch.manual_seed(0)
    return Hallucination(Flat(5), num_generated=num_generated, batch_norm="running").double()


def test_it_starts_as_prototypical_on_embeddings_that_are_not_negative() -> None:
    task = random_task()
    task.support_z = task.support_z.abs()
    prototypical = Prototypical(Flat(5), batch_norm="running")
    torch.testing.assert_close(compare(hallucination(), task), compare(prototypical, task))


def test_prototypes_are_means_of_real_and_generated_examples() -> None:
    algorithm, task = hallucination(), random_task()
    for weight in algorithm.generator.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    first, second, last = algorithm.generator.layers
    ways, examples = task.support_y.argmax(1).tolist(), {0: [], 1: [], 2: []}
    for z, way in zip(task.support_z, ways, strict=True):
        made = [last(second(first(torch.cat([z, noise])).relu()).relu()) for noise in algorithm.noise]
        examples[way] += [z, *made]
    prototypes = torch.stack([torch.stack(examples[way]).mean(0) for way in range(3)])
    torch.testing.assert_close(compare(algorithm, task), -(task.query_z[:, None] - prototypes).square().sum(-1))


def test_training_draws_noise_and_evaluation_does_not() -> None:
    algorithm, task = hallucination(), random_task()
    torch.nn.init.normal_(algorithm.generator.layers[0].weight)
    batch = batch_of(task)
    assert algorithm.loss(batch).loss != algorithm.loss(batch).loss
    assert torch.equal(compare(algorithm, task), compare(algorithm, task))


def test_each_task_of_a_training_has_its_own_gaussian_noise() -> None:
    algorithm, noises = hallucination(num_generated=2000), []
    batch = batch_of(random_task())
    algorithm.generator.register_forward_pre_hook(lambda _, inputs: noises.append(inputs[1]))
    output = algorithm.loss(batch)
    assert len(noises) == 2 and not torch.equal(*noises)
    for noise in (*noises, algorithm.noise):
        assert noise.mean().abs() < 0.05 and (noise.std() - 1).abs() < 0.05
    for task, noise, logits in zip(batch.tasks(), [*noises], output.logits, strict=True):
        torch.testing.assert_close(algorithm.classify(*task[:3], noise), logits)
    torch.testing.assert_close(output.loss, cross_entropy(output.logits, batch.query_y))


def test_nothing_to_generate_is_refused() -> None:
    with pytest.raises(ValueError, match="num_generated=0"):
        hallucination(0)
