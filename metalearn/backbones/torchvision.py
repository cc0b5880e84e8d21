"""Weights from torchvision's files, read without torchvision."""

import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from metalearn.data.files.cached_tensor import check_records

NAMES = {
    "conv1": "stem",
    "bn1": "stem_norm",
    **{f"layer{stage + 1}.{block}": f"blocks.{2 * stage + block}" for stage in range(4) for block in range(2)},
}
"""Parts of torchvision's resnet18 and their names in ours; its classifier has none."""

WITHIN = {"bn1": "norm1", "bn2": "norm2", "downsample.0": "shortcut", "downsample.1": "shortcut_norm"}
"""Parts of a block."""

LEFT_OUT = ("fc.weight", "fc.bias")


def load_resnet18(network: nn.Module, path: Path) -> None:
    """Loads the weights of torchvision's resnet18 into our network with the stem of 7 x 7.

    Raises FileNotFoundError if the file is missing, and ValueError, in one line, if it holds other
    weights.
    """
    if not path.is_file():
        raise FileNotFoundError(f"backbone.weights={path}: there is no such file")
    try:
        if zipfile.is_zipfile(path):  # older files have no checksums
            check_records(path)
        theirs = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises any kind for a file that is no checkpoint
        raise ValueError(f"backbone.weights={path} is damaged, or no file of PyTorch's weights") from error
    if not isinstance(theirs, dict) or not all(isinstance(value, Tensor) for value in theirs.values()):
        raise ValueError(f"backbone.weights={path} is not a dictionary of weights such as torchvision saves")
    kept = (key for key in theirs if key not in LEFT_OUT and not key.endswith(".num_batches_tracked"))
    renamed = {_ours(key): theirs[key] for key in kept}
    own = network.state_dict()
    wrong = [name for name, value in renamed.items() if name in own and own[name].shape != value.shape]
    if different := sorted(own.keys() ^ renamed.keys()) + wrong:
        raise ValueError(f"backbone.weights={path} does not fit torchvision's resnet18: they differ in {different[0]}")
    network.load_state_dict(renamed)


def _ours(key: str) -> str:
    part, _, rest = key.partition(".")
    if part.startswith("layer"):
        block, _, rest = rest.partition(".")
        part = f"{part}.{block}"
        for theirs, ours in WITHIN.items():
            if rest.startswith(f"{theirs}."):
                rest = ours + rest[len(theirs) :]
    return f"{NAMES.get(part, part)}.{rest}"
