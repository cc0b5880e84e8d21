"""Groups of weights, each with its learning rate."""

from typing import Any

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.backbones.base import is_of_backbone


def groups_of(algorithm: AbstractAlgorithm, backbone_lr: float) -> list[dict[str, Any]]:
    """Groups the trained weights for an optimizer; the backbone learns at `backbone_lr`.

    The projection of a pretrained backbone is new, like a head, and belongs to the rest. Raises
    ValueError if no weight of the backbone is trained.
    """
    if backbone_lr < 0:
        raise ValueError(f"optimizer.backbone_lr={backbone_lr} must not be negative")
    trained = [(name, weight) for name, weight in algorithm.named_parameters() if weight.requires_grad]
    backbone = [
        (name, weight)
        for name, weight in trained
        if name.startswith(algorithm.replaces_backbone) or (is_of_backbone(name) and ".projection." not in name)
    ]
    if not backbone:
        raise ValueError(f"optimizer.backbone_lr={backbone_lr}, but no weight of the backbone is trained: leave it out")
    rest = [weight for _, weight in trained if all(weight is not other for _, other in backbone)]
    own = {"params": [weight for _, weight in backbone], "lr": backbone_lr}
    return [{"params": rest}, own] if rest else [own]
