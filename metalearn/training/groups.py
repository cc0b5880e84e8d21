"""Groups of weights, each with its learning rate."""

from typing import Any

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.backbones.base import AbstractBackbone, backbone_of, is_of_backbone


def groups_of(algorithm: AbstractAlgorithm, backbone_lr: float) -> list[dict[str, Any]]:
    """Groups the trained weights for an optimizer; the backbone learns at `backbone_lr`.

    New weights of a pretrained backbone, such as its projection, belong to the rest, like a head.
    Raises ValueError if no weight of the backbone is trained at `backbone_lr`.
    """
    if backbone_lr < 0:
        raise ValueError(f"optimizer.backbone_lr={backbone_lr} must not be negative")
    new = AbstractBackbone.untrained
    if algorithm.pretrained_on is not None:
        new = getattr(backbone_of(algorithm), "untrained", new)

    def is_new(name: str) -> bool:
        return name.partition("backbone.")[2].startswith(new)

    trained = [(name, weight) for name, weight in algorithm.named_parameters() if weight.requires_grad]
    backbone = [
        (name, weight)
        for name, weight in trained
        if name.startswith(algorithm.replaces_backbone) or (is_of_backbone(name) and not is_new(name))
    ]
    if not backbone:
        what = "but no weight of the backbone is trained at that rate: leave it out"
        raise ValueError(f"optimizer.backbone_lr={backbone_lr}, {what}")
    rest = [weight for _, weight in trained if all(weight is not other for _, other in backbone)]
    own = {"params": [weight for _, weight in backbone], "lr": backbone_lr}
    return [{"params": rest}, own] if rest else [own]
