"""Residual backbones under torch.func and in episodes."""

import copy
from collections.abc import Callable

import pytest
import torch
from conftest import composed, episode
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from metalearn.backbones.norm import BatchNorm, Rows
from metalearn.backbones.resnet12 import ResNet12
from metalearn.backbones.resnet18 import ResNet18
from metalearn.backbones.wide_resnet import WideResNet

FAMILIES = ["prototypical", "relation", "metaoptnet", "baseline", "triplet", "maml", "maml_plus_plus", "reptile"]
SMALL = {
    "resnet12": "backbone.widths=[4,4,6,8]",
    "resnet18": "backbone.widths=[4,4,6,8]",
    "wrn_28_10": "backbone.width=1",
}
SHAPE = (1, 16, 16)
WAY = 3


def small(name: str, *, seed: int = 0) -> nn.Module:
    """Builds a small backbone, with other than the initial moments and affine maps."""
    torch.manual_seed(seed)
    backbone = instantiate(composed(f"backbone={name}", f"dataset.input_shape={list(SHAPE)}", SMALL[name]).backbone)
    for norm in norms(backbone):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.running_mean.uniform_(-0.5, 0.5)
        norm.running_var.uniform_(0.5, 1.5)
    return backbone.eval()


def norms(backbone: nn.Module) -> list[BatchNorm]:
    return [module for module in backbone.modules() if isinstance(module, BatchNorm)]


@pytest.fixture(params=list(SMALL))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_normalisation_gets_the_rows(name: str) -> None:
    backbone = small(name)
    x = torch.rand(6, *SHAPE)
    # With the moments of the first four rows, the other rows are independent of each other.
    both = backbone(x, Rows(support=4))
    alone = backbone(x[:5], Rows(support=4))
    torch.testing.assert_close(both[:5], alone)
    assert not torch.allclose(both[:4], backbone(x[:4], None))
    # Each of two blocks is normalised alone.
    blocks = backbone(x, Rows(tasks=2))
    torch.testing.assert_close(blocks, torch.cat([backbone(x[:3], Rows()), backbone(x[3:], Rows())]))
    before = [norm.running_mean.clone() for norm in norms(backbone)]
    backbone(x, Rows(track=True))
    assert not any(map(torch.equal, before, [norm.running_mean for norm in norms(backbone)]))


@pytest.mark.parametrize("rows", [None, Rows(), Rows(support=2)])
def test_vmap_over_tasks_is_the_loop_and_nothing_is_changed(name: str, rows: Rows | None) -> None:
    backbone = small(name).double()
    before = copy.deepcopy(backbone.state_dict())
    params = {key: torch.stack([p.detach(), 1.1 * p.detach()]) for key, p in backbone.named_parameters()}
    x = torch.rand(2, 5, *SHAPE).double()  # (T, B, *X)

    def call(params: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(backbone, params, (x, rows))

    loop = torch.stack([call({key: p[task] for key, p in params.items()}, x[task]) for task in range(2)])
    torch.testing.assert_close(vmap(call)(params, x), loop)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize("rows", [None, Rows()])
def test_gradient_of_gradient(name: str, rows: Rows | None) -> None:
    backbone = small(name).double()
    params = {key: p.detach() for key, p in backbone.named_parameters()}
    x, y = torch.rand(2, 4, *SHAPE).double()

    def loss(params: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(backbone, params, (x, rows)).square().mean()

    def loss_after_a_step(scale: Tensor) -> Tensor:
        """Depends on the scaled images of the inner step only through its gradient."""
        grads = grad(loss)(params, scale * x)
        return loss({key: p - 0.01 * grads[key] for key, p in params.items()}, y)

    at, eps = torch.tensor(1.0).double(), 1e-6
    numerical = (loss_after_a_step(at + eps) - loss_after_a_step(at - eps)) / (2 * eps)
    torch.testing.assert_close(grad(loss_after_a_step)(at), numerical, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("algorithm", FAMILIES)
def test_every_family_takes_a_training_step_on_resnet12(algorithm: str) -> None:
    take_a_step(algorithm, "resnet12")


@pytest.mark.parametrize("backbone", ["resnet18", "wrn_28_10"])
@pytest.mark.parametrize("algorithm", ["prototypical", "maml"])
def test_other_backbones_train_too(algorithm: str, backbone: str) -> None:
    take_a_step(algorithm, backbone)


def take_a_step(algorithm: str, backbone: str) -> None:
    size = [f"dataset.input_shape={list(SHAPE)}", f"episode.train.way={WAY}", f"num_base_classes={WAY}"]
    torch.manual_seed(0)
    built = instantiate(composed(f"algorithm={algorithm}", f"backbone={backbone}", SMALL[backbone], *size).algorithm)
    batch = episode(way=WAY)
    if built.num_base_classes is not None:
        batch = batch._replace(support_x=batch.support_x[:, :0], support_y=batch.support_y[:, :0])
    optimizer = torch.optim.SGD([p for p in built.parameters() if p.requires_grad], 1e-2)
    loss = built.loss(batch).loss
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p).all() for p in built.parameters())
    task = episode(tasks=1, way=WAY).tasks()[0]
    built.eval()
    with torch.no_grad():
        logits = [built.adapt(task.support_x, task.support_y)(task.query_x) for _ in range(2)]
    assert logits[0].shape == task.query_y.shape
    assert torch.equal(*logits)  # evaluation draws nothing


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ResNet12([1, 15, 40]), "^resnet12 halves .*, and 15x40 is below 16x16: use backbone=resnet18$"),
        (lambda: ResNet12([1, 28, 28], widths=[64, 128]), r"^resnet12 has four blocks: widths=\[64, 128\] must be"),
        (lambda: ResNet12([1, 28, 28], drop_rate=1.0), r"^resnet12: drop_rate=1.0 must be in \[0, 1\)"),
        (lambda: ResNet12([1, 28, 28], block_size=0), "block_size=0 positive$"),
        (lambda: ResNet18([1, 28, 28], widths=[64]), r"^resnet18 has four stages: widths=\[64\] must be four numbers$"),
        (lambda: ResNet12([1]), r"^this backbone takes images \(C, H, W\), but inputs have the shape \[1\]: use"),
        (lambda: ResNet18([1]), "^this backbone takes images"),
        (lambda: WideResNet([1]), "^this backbone takes images"),
        (lambda: WideResNet([1, 28, 28], depth=27), "^wide_resnet: depth=27 must be 10, 16, 22, 28"),
    ],
)
def test_refusals(build: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
