"""Torchvision's resnet18 file in our network, against names, shapes and a naive forward pass."""

from pathlib import Path

import pytest
import torch
from conftest import composed
from hydra.utils import instantiate
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.prototypical import Prototypical
from metalearn.backbones.pretrained import without_files
from metalearn.backbones.resnet18 import ResNet18

State = dict[str, Tensor]
WIDTHS = (64, 128, 256, 512)


def state() -> State:
    """Draws random weights with the names and shapes of torchvision.models.resnet18()."""
    torch.manual_seed(0)
    state: State = {"conv1.weight": torch.randn(64, 3, 7, 7) * 0.05} | norm("bn1", 64)
    for stage, width in enumerate(WIDTHS, 1):
        for block in range(2):
            at, before = f"layer{stage}.{block}", width if block else WIDTHS[max(stage - 2, 0)]
            state |= {f"{at}.conv1.weight": torch.randn(width, before, 3, 3) * 0.05} | norm(f"{at}.bn1", width)
            state |= {f"{at}.conv2.weight": torch.randn(width, width, 3, 3) * 0.02} | norm(f"{at}.bn2", width)
            if stage > 1 and block == 0:
                state |= {f"{at}.downsample.0.weight": torch.randn(width, before, 1, 1) * 0.1}
                state |= norm(f"{at}.downsample.1", width)
    return state | {"fc.weight": torch.randn(1000, 512), "fc.bias": torch.randn(1000)}


def norm(at: str, width: int) -> State:
    state = {f"{at}.{name}": torch.rand(width) + 0.5 for name in ("weight", "running_var")}
    state |= {f"{at}.{name}": torch.randn(width) * 0.1 for name in ("bias", "running_mean")}
    return state | {f"{at}.num_batches_tracked": torch.tensor(7)}


def embedding(state: State, x: Tensor) -> Tensor:
    """Computes the forward pass of He et al. up to the classifier, in evaluation."""

    def normalised(x: Tensor, at: str) -> Tensor:
        mean, var, weight, bias = (state[f"{at}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias)

    x = F.relu(normalised(F.conv2d(x, state["conv1.weight"], stride=2, padding=3), "bn1"))
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage in range(1, 5):
        for block in range(2):
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            z = F.relu(normalised(F.conv2d(x, state[f"{at}.conv1.weight"], stride=stride, padding=1), f"{at}.bn1"))
            z = normalised(F.conv2d(z, state[f"{at}.conv2.weight"], padding=1), f"{at}.bn2")
            if f"{at}.downsample.0.weight" in state:
                x = normalised(F.conv2d(x, state[f"{at}.downsample.0.weight"], stride=stride), f"{at}.downsample.1")
            x = F.relu(z + x)
    return x.mean((2, 3))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18-f37072fd.pth"
    torch.save(state(), path)
    return path


def test_the_reference_is_of_torchvisions_size() -> None:
    weights = {name: value for name, value in state().items() if not name.endswith(("running_mean", "running_var"))}
    trained = [value.numel() for name, value in weights.items() if not name.endswith("num_batches_tracked")]
    assert len(state()) == 122  # entries of resnet18-f37072fd.pth
    assert sum(trained) == 11_689_512  # number on torchvision's page of resnet18


def test_the_embedding_is_that_of_the_file(file: Path) -> None:
    backbone = ResNet18([3, 224, 224], stem="7x7", weights=str(file)).eval()
    x = torch.rand(2, 3, 224, 224)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = embedding(state(), (x - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        torch.testing.assert_close(backbone(x), expected, atol=1e-4, rtol=1e-4)
        assert backbone(torch.rand(1, 1, 28, 28)).shape == (1, 512)
    assert backbone.pretrained_on == "imagenet-1k"


def test_a_frozen_one_keeps_its_weights_and_trains_a_projection(file: Path) -> None:
    typed = ["backbone=resnet18", "backbone.stem=7x7", f"backbone.weights={file}", "backbone.freeze=true"]
    backbone = instantiate(composed(*typed, "backbone.projection=16", "backbone.pretrained_on=places").backbone)
    trained = [name for name, weight in backbone.named_parameters() if weight.requires_grad]
    assert trained == ["projection.weight", "projection.bias"]
    assert (backbone.num_features, backbone.map_shape, backbone.pretrained_on) == (16, (16, 1, 1), "places")
    assert Prototypical(backbone, batch_norm="batch").dependence() == ("running", False)


def test_weights_of_a_checkpoint_need_no_file(file: Path) -> None:
    ours = ResNet18([3, 84, 84], stem="7x7", weights=str(file), freeze=True).eval()
    with without_files():
        again = ResNet18([3, 84, 84], stem="7x7", weights="absent.pth", freeze=True).eval()
    again.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 84, 84)
    assert torch.equal(again(x), ours(x)) and again.pretrained_on == ours.pretrained_on
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        ResNet18([3, 84, 84], stem="7x7", weights="absent.pth")


def test_the_stem_alone_is_the_published_network_without_its_head() -> None:
    backbone = ResNet18([3, 84, 84], stem="7x7")
    assert sum(weight.numel() for weight in backbone.parameters()) == 11_689_512 - (512 * 1000 + 1000)
    assert backbone.pretrained_on is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {**state, "layer5.0.conv1.weight": torch.zeros(1)}, "differ in layer5.0.conv1.weight"),
        (lambda state: {k: v for k, v in state.items() if k != "bn1.bias"}, "differ in stem_norm.bias"),
        (lambda state: state | {"conv1.weight": torch.zeros(64, 3, 3, 3)}, "differ in stem.weight"),
        (lambda state: {"model": state}, "is not a dictionary of weights"),
    ],
)
def test_other_weights_are_refused(change, message: str, tmp_path: Path) -> None:
    torch.save(change(state()), path := tmp_path / "other.pth")
    with pytest.raises(ValueError, match=f"^backbone.weights={path} .*{message}"):
        ResNet18([3, 84, 84], stem="7x7", weights=str(path))


def test_a_flipped_bit_is_refused(file: Path, tmp_path: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    (path := tmp_path / "flipped.pth").write_bytes(content)
    with pytest.raises(ValueError, match=f"^backbone.weights={path} is damaged"):
        ResNet18([3, 84, 84], stem="7x7", weights=str(path))


def test_weights_of_the_older_format_are_loaded(tmp_path: Path) -> None:
    torch.save(state(), path := tmp_path / "resnet18-5c106cde.pth", _use_new_zipfile_serialization=False)
    weights = ResNet18([3, 84, 84], stem="7x7", weights=str(path)).state_dict()
    assert torch.equal(weights["stem.weight"], state()["conv1.weight"])


def test_what_is_no_file_of_weights_is_refused(file: Path, tmp_path: Path) -> None:
    (text := tmp_path / "text.pth").write_text("no weights")
    for arguments, message in (
        ({"stem": "7x7", "weights": str(tmp_path / "none.pth")}, "there is no such file"),
        ({"stem": "7x7", "weights": str(text)}, "is damaged, or no file of PyTorch.s weights"),
        ({"weights": str(file)}, "backbone.stem=7x7"),
    ):
        with pytest.raises((ValueError, OSError), match=message) as raised:
            ResNet18([3, 84, 84], **arguments)
        assert "\n" not in str(raised.value)
