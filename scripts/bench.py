"""Time a training step against plain PyTorch, each in processes of its own and in turns on the same machine.

The peer is what one would write by hand: `nn.BatchNorm2d`, the default memory layout and allocator, `torch.cdist`, and
for MAML `torch.autograd.grad` in a loop over tasks. Both must first give the same loss and gradients.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.gradient import InnerLoop
from metalearn.algorithms.maml import MAML
from metalearn.algorithms.prototypical import Prototypical
from metalearn.backbones.conv4 import Conv4
from metalearn.runner.machine import keep_freed_memory
from metalearn.types import Episode

# tasks, way, shot, queries, inner steps (0: prototypical)
WORKS = {
    "prototypical, 60-way 1-shot 5 queries": (1, 60, 1, 5, 0),
    "maml, 32 tasks, 5-way 1-shot 1 query, 1 inner step": (32, 5, 1, 1, 1),
    "maml, 4 tasks, 5-way 1-shot 15 queries, 5 inner steps": (4, 5, 1, 15, 5),
}
INNER_LR = 0.1


def ours(work: str) -> tuple[AbstractAlgorithm, Callable[[Episode], Tensor]]:
    _, way, _, _, inner_steps = WORKS[work]
    torch.manual_seed(0)
    backbone = Conv4([1, 28, 28])
    algorithm: AbstractAlgorithm
    if inner_steps == 0:
        algorithm = Prototypical(backbone, batch_norm="running")
    else:
        algorithm = MAML(
            backbone,
            way=way,
            inner_lr=INNER_LR,
            inner_loop=InnerLoop(steps=inner_steps, test_steps=inner_steps),
            batch_norm="batch",
        )
    return algorithm, lambda batch: algorithm.loss(batch).loss


def plain(work: str) -> tuple[nn.Module, Callable[[Episode], Tensor]]:
    _, way, _, _, inner_steps = WORKS[work]
    torch.manual_seed(0)
    blocks = [[nn.Conv2d(c, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)] for c in (1, 64, 64, 64)]
    network = nn.Sequential(*(layer for block in blocks for layer in block), nn.Flatten())
    if inner_steps > 0:
        network.append(nn.Linear(64, way))

    def prototypical(batch: Episode) -> Tensor:
        (task,) = batch.tasks()
        z = network(torch.cat([task.support_x, task.query_x]))
        support_z, query_z = z[: len(task.support_x)], z[len(task.support_x) :]
        prototypes = task.support_y.T @ support_z / task.support_y.sum(0)[:, None]
        return F.cross_entropy(-torch.cdist(query_z, prototypes).square(), task.query_y)

    def maml(batch: Episode) -> Tensor:
        losses = []
        for task in batch.tasks():
            phi = dict(network.named_parameters())
            for _ in range(inner_steps):
                loss = F.cross_entropy(functional_call(network, phi, task.support_x), task.support_y)
                grads = torch.autograd.grad(loss, list(phi.values()), create_graph=True)
                phi = {name: w - INNER_LR * g for (name, w), g in zip(phi.items(), grads, strict=True)}
            losses.append(F.cross_entropy(functional_call(network, phi, task.query_x), task.query_y))
        return torch.stack(losses).mean()

    return network, prototypical if inner_steps == 0 else maml


def batch_of(work: str) -> Episode:
    tasks, way, shot, query, _ = WORKS[work]
    generator = torch.Generator().manual_seed(0)

    def rows(per_class: int) -> tuple[Tensor, Tensor]:
        y = F.one_hot(torch.arange(way).repeat(per_class), way).float().expand(tasks, -1, -1)
        return torch.rand(tasks, way * per_class, 1, 28, 28, generator=generator), y

    return Episode(*rows(shot), *rows(query))


def check(work: str) -> None:
    """Raises AssertionError when the two disagree on the loss or on a gradient."""
    batch, found = Episode(*(part.double() for part in batch_of(work))), []
    for make in (ours, plain):
        module, loss_of = make(work)
        module.double()
        loss = loss_of(batch)
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in module.parameters())])
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-9)


def seconds_of_a_step(side: str, work: str, steps: int) -> float:
    if side == "ours":
        keep_freed_memory()
    module, loss_of = {"ours": ours, "plain": plain}[side](work)
    optimizer, batch, times = torch.optim.Adam(module.parameters(), 1e-3), batch_of(work), []
    for _ in range(steps):
        began = time.perf_counter()
        optimizer.zero_grad()
        loss_of(batch).backward()
        optimizer.step()
        times.append(time.perf_counter() - began)
    return statistics.median(times[len(times) // 3 :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each side for each work (%(default)s)")
    parser.add_argument(
        "--steps", type=int, default=12, help="steps of a process, the first third unused (%(default)s)"
    )
    parser.add_argument("--one", nargs=2, metavar=("SIDE", "WORK"), help=argparse.SUPPRESS)  # what a process does
    given = parser.parse_args()
    if given.one:
        print(seconds_of_a_step(*given.one, given.steps))
        return
    table = Table("work", "metalearn, s", "plain PyTorch, s", "ratio", title=f"{torch.get_num_threads()} threads")
    for work in WORKS:
        check(work)
        times: dict[str, list[float]] = {"ours": [], "plain": []}
        for _ in range(given.rounds):
            for side, measured in times.items():
                command = [sys.executable, __file__, "--steps", str(given.steps), "--one", side, work]
                measured.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        mine, theirs = (statistics.median(measured) for measured in times.values())
        table.add_row(work, f"{mine:.3f}", f"{theirs:.3f}", f"{theirs / mine:.2f}x")
    Console().print(table)


if __name__ == "__main__":
    main()
