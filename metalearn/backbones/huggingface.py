"""Vision models of Hugging Face's transformers, by their name on the hub or from a folder.

`AutoModel` knows ResNet, ViT, DINOv2, Swin, ConvNeXt, the image tower of CLIP, and others. Weights
are read from safetensors, so that no file can run code. Size, mean and deviation of the images are
those of the model's image processor.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metalearn.backbones.hub import check_whole, reading
from metalearn.backbones.pretrained import AbstractPretrained, Input, Preprocessing

BILINEAR = 2  # number of the filter in image processors, from Pillow


class HuggingFace(AbstractPretrained):
    """Vision model: images of any size -> its pooled output or first token, or their projection.

    The first token, which is the class token, or the mean of the maps serves models that do not
    pool.

    Args:
        input_shape: (C, H, W) of the images of the data set, with 1 or 3 colours.
        name: model on the hub, such as facebook/dinov2-small, or the folder of a model.
        freeze: whether the weights are constant.
        projection: width of a linear layer after the embedding; None: no such layer.
        pretrained_on: data of the weights, from the card of the model, such as imagenet-1k.

    Examples:
        >>> network = HuggingFace([3, 84, 84], name="facebook/dinov2-small")  # doctest: +SKIP
        >>> network(torch.zeros(1, 3, 84, 84)).shape  # (B, D)  # doctest: +SKIP
        torch.Size([1, 384])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        *,
        name: str | None,
        freeze: bool = True,
        projection: int | None = None,
        pretrained_on: str = "unknown",
    ) -> None:
        if not name:
            raise ValueError("backbone.name is missing: a model of huggingface.co, such as facebook/dinov2-small")
        network, wanted = _loaded(name, freeze=freeze)
        with torch.no_grad():
            num_features = _embedding(network.eval(), torch.zeros(1, 3, *wanted.size)).shape[1]
        super().__init__(
            network,
            Preprocessing(input_shape, wanted),
            num_features=num_features,
            freeze=freeze,
            projection=projection,
            pretrained_on=pretrained_on,
        )

    def features(self, x: Tensor) -> Tensor:
        return _embedding(self.network, x)


def _embedding(network: nn.Module, x: Tensor) -> Tensor:  # (B, 3, h, w) -> (B, D)
    output = network(pixel_values=x)
    pooled = getattr(output, "pooler_output", None)  # (B, D), or (B, D, 1, 1) of convolutional networks
    if pooled is None:
        last = output.last_hidden_state  # tokens (B, L, D), or maps (B, D, h, w)
        pooled = last.mean((2, 3)) if last.ndim == 4 else last[:, 0]
    return pooled.flatten(1)


def _loaded(name: str, *, freeze: bool) -> tuple[nn.Module, Input]:
    """Loads a model and the format of its images.

    Raises ValueError, in one line, if it is no vision model.
    """
    with reading(name, "huggingface") as transformers:
        config = transformers.AutoConfig.from_pretrained(name)
        config = getattr(config, "vision_config", config)  # CLIP and similar models, without their text tower
        network, report = transformers.AutoModel.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            # Second derivatives, as in MAML, exist only of the eager attention.
            attn_implementation=None if freeze else "eager",
        )
        of_images = transformers.image_processing_base.ImageProcessingMixin
        processor, _ = of_images.get_image_processor_dict(name)
    if hasattr(getattr(network, "pooler", None), "dense"):
        network.pooler = None  # layer of its first task on the class token; many files lack it
    check_whole(name, report)
    if network.main_input_name != "pixel_values":
        raise ValueError(f"backbone.name={name} is {type(network).__name__}, not a vision model: name one")
    return network, _input(name, processor)


def _input(name: str, processor: dict[str, Any]) -> Input:
    """Reads the format of images from an image processor.

    A processor may crop the middle of an image; here the whole image is scaled.
    """
    size = processor["crop_size"] if processor.get("do_center_crop") else processor.get("size")
    if isinstance(size, dict):
        size = (size["height"], size["width"]) if "height" in size else size.get("shortest_edge")
    if isinstance(size, int):
        size = (size, size)
    mean, std = processor.get("image_mean"), processor.get("image_std")
    if processor.get("do_normalize") is False:
        mean, std = 3 * [0.0], 3 * [1.0]
    if size is None or mean is None or std is None:
        raise ValueError(f"backbone.name={name}: its preprocessor_config.json has no size, image_mean and image_std")
    return Input(size, mean, std, "bilinear" if processor.get("resample") == BILINEAR else "bicubic")
