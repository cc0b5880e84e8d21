"""The other sides: plain PyTorch as written by hand, and the libraries as they document.

All train one network, with `nn.BatchNorm2d` and the default memory layout and allocator. Libraries
are imported late, because each may be missing.
"""

import random
import sys
from collections.abc import Callable
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler
from works import INNER_LR, QUERY, SHOT, WAY, Step

from metalearn.data.bank import ClassBank
from metalearn.types import Episode

Side = tuple[nn.Module, Callable[[Episode], Tensor]]


def network(way: int | None = None, colours: int = 1) -> nn.Sequential:
    """Builds Conv4, with a linear head for `way` logits unless it is None."""
    torch.manual_seed(0)
    widths = (colours, 64, 64, 64)
    blocks = [[nn.Conv2d(c, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)] for c in widths]
    layers = [*(layer for block in blocks for layer in block), nn.Flatten()]
    return nn.Sequential(*layers, *([] if way is None else [nn.Linear(64, way)]))


class ResidualBlock(nn.Module):
    """Block of ResNet-12 (Lee et al. 2019): three normalised convolutions and a shortcut."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        widths = (channels_in, channels, channels)
        self.convs = nn.ModuleList(nn.Conv2d(c, channels, 3, padding=1, bias=False) for c in widths)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in widths)
        self.shortcut, self.shortcut_norm = nn.Conv2d(channels_in, channels, 1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        z = F.leaky_relu(self.norms[0](self.convs[0](x)), 0.1)
        z = F.leaky_relu(self.norms[1](self.convs[1](z)), 0.1)
        z = self.norms[2](self.convs[2](z)) + self.shortcut_norm(self.shortcut(x))
        return F.max_pool2d(F.leaky_relu(z, 0.1), 2)


def residual_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(ResidualBlock(*c) for c in ((3, 64), (64, 160), (160, 320), (320, 640))), nn.Flatten())


def plain(work: Step) -> Side:
    return plain_prototypical(work) if work.inner_steps == 0 else plain_maml(work)


def plain_prototypical(work: Step) -> Side:
    backbone = network(colours=work.input_shape[0]) if work.backbone == "conv4" else residual_network()

    def loss_of(batch: Episode) -> Tensor:
        (task,) = batch.tasks()
        z = backbone(torch.cat([task.support_x, task.query_x]))
        support_z, query_z = z[: len(task.support_x)], z[len(task.support_x) :]
        prototypes = task.support_y.T @ support_z / task.support_y.sum(0)[:, None]
        return F.cross_entropy(-torch.cdist(query_z, prototypes).square(), task.query_y)

    return backbone, loss_of


def plain_maml(work: Step) -> Side:
    classifier = network(work.way)

    def loss_of(batch: Episode) -> Tensor:
        losses = []
        for task in batch.tasks():
            phi = dict(classifier.named_parameters())
            for _ in range(work.inner_steps):
                loss = F.cross_entropy(functional_call(classifier, phi, task.support_x), task.support_y)
                grads = torch.autograd.grad(loss, list(phi.values()), create_graph=True)
                phi = {name: w - INNER_LR * g for (name, w), g in zip(phi.items(), grads, strict=True)}
            losses.append(F.cross_entropy(functional_call(classifier, phi, task.query_x), task.query_y))
        return torch.stack(losses).mean()

    return classifier, loss_of


def higher_maml(work: Step) -> Side:
    import higher

    classifier = network(work.way)
    inner = torch.optim.SGD(classifier.parameters(), INNER_LR)

    def loss_of(batch: Episode) -> Tensor:
        losses = []
        for task in batch.tasks():
            with higher.innerloop_ctx(classifier, inner, copy_initial_weights=False) as (fast, optimizer):
                for _ in range(work.inner_steps):
                    optimizer.step(F.cross_entropy(fast(task.support_x), task.support_y))
                losses.append(F.cross_entropy(fast(task.query_x), task.query_y))
        return torch.stack(losses).mean()

    return classifier, loss_of


def torchopt_maml(work: Step) -> Side:
    import torchopt

    classifier = network(work.way)
    inner = torchopt.MetaSGD(classifier, lr=INNER_LR)

    def loss_of(batch: Episode) -> Tensor:
        losses = []
        start = torchopt.extract_state_dict(classifier, by="reference", detach_buffers=True)
        start_of_inner = torchopt.extract_state_dict(inner, by="reference")
        for task in batch.tasks():
            for _ in range(work.inner_steps):
                inner.step(F.cross_entropy(classifier(task.support_x), task.support_y))
            losses.append(F.cross_entropy(classifier(task.query_x), task.query_y))
            torchopt.recover_state_dict(classifier, start)
            torchopt.recover_state_dict(inner, start_of_inner)
        return torch.stack(losses).mean()

    return classifier, loss_of


def let_easyfsl_run() -> None:
    """Replaces missing parts of easyfsl 1.5.0, none of which is timed here.

    It imports torchvision for its data sets and residual networks. A torchvision that does not fit
    the build of torch cannot be imported, nor can torchmetrics then. Its samplers also pass an
    argument of an older torch to their base.
    """
    for name in ("torchvision", "torchvision.datasets", "torchvision.models.resnet"):
        sys.modules.setdefault(name, MagicMock())
    Sampler.__init__ = lambda self, data_source=None: None


def easyfsl_prototypical(work: Step) -> Side:
    model, scores_of = easyfsl_scores()
    return model, lambda batch: F.cross_entropy(scores_of(batch), batch.query_y[0])


def easyfsl_scores() -> Side:
    """Builds easyfsl's head; its logits are plain distances, and it embeds both sets separately."""
    let_easyfsl_run()
    from easyfsl.methods import PrototypicalNetworks

    model = PrototypicalNetworks(network())

    def scores_of(batch: Episode) -> Tensor:
        (task,) = batch.tasks()
        model.process_support_set(task.support_x, task.support_y.argmax(1))
        return model(task.query_x)

    return model, scores_of


def plain_evaluation(images: ClassBank, episodes: int, device: str) -> Callable[[], float]:
    backbone = network().eval().to(device)
    pixels = images.images.to(device).float() / 255

    @torch.no_grad()
    def accuracy() -> float:
        right = 0
        for _ in range(episodes):
            classes = random.sample(images.rows, WAY)
            rows = torch.tensor([random.sample(own.tolist(), SHOT + QUERY) for own in classes])  # (N, SHOT + QUERY)
            z = backbone(pixels[rows.flatten().to(device)]).unflatten(0, rows.shape)
            prototypes = z[:, :SHOT].mean(1)  # (N, D)
            nearest = torch.cdist(z[:, SHOT:].flatten(0, 1), prototypes).argmin(1)
            right += int((nearest == torch.arange(WAY, device=device).repeat_interleave(QUERY)).sum())
        return right / (episodes * WAY * QUERY)

    return accuracy


def easyfsl_evaluation(images: ClassBank, episodes: int, device: str) -> Callable[[], float]:
    let_easyfsl_run()
    from easyfsl.datasets import FewShotDataset
    from easyfsl.methods import PrototypicalNetworks
    from easyfsl.samplers import TaskSampler
    from easyfsl.utils import evaluate

    class InMemory(FewShotDataset):
        def __init__(self) -> None:
            self.pixels = images.images.float() / 255
            self.labels = [label for label, rows in enumerate(images.rows) for _ in rows]

        def __getitem__(self, item: int) -> tuple[Tensor, int]:
            return self.pixels[item], self.labels[item]

        def __len__(self) -> int:
            return len(self.labels)

        def get_labels(self) -> list[int]:
            return self.labels

    dataset, model = InMemory(), PrototypicalNetworks(network()).to(device)
    sampler = TaskSampler(dataset, n_way=WAY, n_shot=SHOT, n_query=QUERY, n_tasks=episodes)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=sampler.episodic_collate_fn)
    return lambda: evaluate(model, loader, device=device, use_tqdm=False)
