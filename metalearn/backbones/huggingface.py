"""Vision models of Hugging Face's transformers, by their name on the hub or from a folder.

ResNet, ViT, DINOv2, Swin, ConvNeXt, the image tower of CLIP, and others that `AutoModel` knows. Weights are read from
safetensors, so that none of them can run code. What the model's image processor says of size, mean and deviation holds.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metalearn.backbones.pretrained import AbstractPretrained, Input, Preparation

BILINEAR = 2  # in image processors, as in Pillow


class HuggingFace(AbstractPretrained):
    """Images of any size -> what the model pools, else its first token (the class token), or their projection.

    Args:
        input_shape: of the images of the data set, with 1 or 3 colours.
        name: of a model on the hub, such as facebook/dinov2-small, or the folder of one.
        freeze: whether the weights stay what they are.
        projection: the width of a linear layer that follows.
        pretrained_on: the data that the weights are from, as the model's card has it, such as imagenet-1k.
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
        network, wanted = _loaded(name)
        with torch.no_grad():
            num_features = _embedding(network.eval(), torch.zeros(1, 3, *wanted.size)).shape[1]
        super().__init__(
            network,
            Preparation(input_shape, wanted),
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
    return (output.last_hidden_state[:, 0] if pooled is None else pooled).flatten(1)


def _loaded(name: str) -> tuple[nn.Module, Input]:
    """A model and the images that it takes. Raises ValueError, in one line, for what is no vision model."""
    try:
        import transformers
        from transformers.image_processing_base import ImageProcessingMixin
    except ImportError as error:
        needed = "pip install -e '.[pretrained]' in the checkout"
        raise ValueError(f"backbone=huggingface needs transformers: {needed} ({error})") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(name)
        config = getattr(config, "vision_config", config)  # of CLIP and its like, without the tower of texts
        network, report = transformers.AutoModel.from_pretrained(
            name, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
        processor, _ = ImageProcessingMixin.get_image_processor_dict(name)
    except (OSError, ValueError) as error:
        raise ValueError(f"backbone.name={name}: {str(error).strip().partition(chr(10))[0]}") from error
    if hasattr(getattr(network, "pooler", None), "dense"):
        network.pooler = None  # a layer of its first task on top of the class token, which many files leave out
    if missing := [key for key in report["missing_keys"] if not key.startswith("pooler.")]:
        raise ValueError(f"backbone.name={name} has no weights for {min(missing)}, which would be random")
    if network.main_input_name != "pixel_values":
        raise ValueError(f"backbone.name={name} is {type(network).__name__}, which takes no images")
    return network, _input(name, processor)


def _input(name: str, processor: dict[str, Any]) -> Input:
    """What an image processor makes of an image, but for the cut of its middle: here it is scaled as a whole."""
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
