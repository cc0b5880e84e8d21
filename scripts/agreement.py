"""Compares heads of metalearn and easyfsl on equal embeddings, query by query.

    python scripts/agreement.py RUN

The embeddings are those of meta-test by the backbone of the run. Prints, for each head, the
fraction of queries with equal answers, and both accuracies. easyfsl must be installed; its imports
from torchvision are not used here, so mocks replace them.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional as F

from metalearn.algorithms.bd_cspn import BDCSPN
from metalearn.algorithms.laplacian_shot import LaplacianShot
from metalearn.algorithms.metric import AbstractEmbedding
from metalearn.algorithms.pt_map import PTMAP
from metalearn.algorithms.simple_shot import SimpleShot
from metalearn.algorithms.tim import TIM
from metalearn.backbones.base import AbstractBackbone
from metalearn.episodes.fetching import intensities
from metalearn.episodes.sampling import draw
from metalearn.episodes.setting import Setting

for name in ("torchvision", "torchvision.transforms", "torchvision.models", "torchvision.models.resnet"):
    sys.modules.setdefault(name, MagicMock())

from easyfsl import methods  # noqa: E402

WAY, QUERY, EPISODES = 5, 15, 50
Task = tuple[Tensor, Tensor, Tensor, Tensor]
"""Embeddings (S, D) and ways (S,) of the support rows, and of the queries."""


class Embedded(AbstractBackbone):
    """A backbone whose inputs are embeddings: (B, D) -> (B, D).

    Args:
        num_features: D.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features, self.map_shape = num_features, (num_features, 1, 1)

    def forward(self, x: Tensor, rows: object = None) -> Tensor:
        return x


def tasks_of(run: Path, shot: int) -> tuple[list[Task], Tensor]:
    """Embeds meta-test episodes by the backbone of a run.

    Returns also the mean embedding of 6,400 base images, (D,).
    """
    config = OmegaConf.load(run / "hparams.yaml")
    backbone = instantiate(config.backbone).eval()
    state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    prefix = "algorithm.backbone."
    backbone.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    banks = instantiate(config.dataset).load()

    @torch.no_grad()
    def embed(split: str, rows: Tensor) -> Tensor:
        return torch.cat([backbone(intensities(banks[split].images[chunk]), None) for chunk in rows.split(256)])

    setting, tasks = Setting(WAY, shot, QUERY), []
    for index in range(EPISODES):
        shape = setting.shape(banks["test"].smallest_class, seed=0, split="test", batch=index)
        episode = draw(banks["test"].rows, shape, seed=0, split="test", index=index)
        z = embed("test", torch.cat([episode.support_rows, episode.query_rows]))
        tasks.append((z[: WAY * shot], episode.support_ways, z[WAY * shot :], episode.query_ways))
    base = torch.randperm(len(banks["train"].images), generator=torch.Generator().manual_seed(0))[:6400]
    return tasks, embed("train", base).mean(0)


def heads(width: int, mean: Tensor) -> dict[str, tuple[AbstractEmbedding, Callable[[], torch.nn.Module]]]:
    """Builds our heads and those of easyfsl, with equal settings where both have them."""
    common = {"num_base_classes": 1, "batch_norm": "running"}
    backbone, unit = Embedded(width), {"feature_normalization": 2.0}
    centred = unit | {"feature_centering": mean}
    laplacian = LaplacianShot(backbone, laplacian=0.7, neighbours=2, steps=20, sharpness=10.0, **common)
    simple = SimpleShot(backbone, **common)
    for algorithm in (simple, laplacian):
        algorithm.base.mean.copy_(mean)
    tim = TIM(
        backbone, sharpness=10.0, support_weight=1.0, conditional_weight=0.1, alpha=1.0, lr=1e-3, steps=50, **common
    )
    pt_map = PTMAP(backbone, exponent=0.5, sharpness=10.0, rate=0.2, steps=10, **common)
    return {
        "simple_shot": (simple, lambda: methods.SimpleShot(**centred)),
        "bd_cspn": (BDCSPN(backbone, sharpness=10.0, **common), lambda: methods.BDCSPN(**unit)),
        "tim": (tim, lambda: methods.TIM(fine_tuning_steps=50, fine_tuning_lr=1e-3, **unit)),
        "laplacian_shot": (laplacian, lambda: methods.LaplacianShot(**centred)),
        "pt_map": (pt_map, methods.PTMAP),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory")
    run = parser.parse_args().run
    torch.manual_seed(0)
    for shot in (1, 5):
        tasks, mean = tasks_of(run, shot)
        for name, (ours, theirs) in heads(tasks[0][0].shape[1], mean).items():
            same, right, right_there = 0, 0, 0
            for support_z, support_ways, query_z, query_ways in tasks:
                y = F.one_hot(support_ways, WAY).float()
                found = ours.compare(support_z, y, query_z).argmax(1)
                peer = theirs()
                peer.process_support_set(support_z, support_ways)
                found_there = peer(query_z).argmax(1)
                same += int((found == found_there).sum())
                right += int((found == query_ways).sum())
                right_there += int((found_there == query_ways).sum())
            total = EPISODES * WAY * QUERY / 100
            numbers = f"same {same / total:6.2f} %   ours {right / total:6.2f} %   easyfsl {right_there / total:6.2f} %"
            print(f"{shot}-shot  {name:15} {numbers}", flush=True)


if __name__ == "__main__":
    main()
