"""Few-shot meta-learning experiments, composed from YAML and measured so that they can be believed.

The public names are imported at their first use, because torch takes seconds and the command line
does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # gives type checkers and editors these names
    from metalearn.algorithms.base import AbstractAlgorithm as AbstractAlgorithm
    from metalearn.algorithms.baseline import Baseline as Baseline
    from metalearn.algorithms.gradient import AbstractGradient as AbstractGradient
    from metalearn.algorithms.gradient import InnerLoop as InnerLoop
    from metalearn.algorithms.maml import MAML as MAML
    from metalearn.algorithms.matching import Matching as Matching
    from metalearn.algorithms.meta_sgd import MetaSGD as MetaSGD
    from metalearn.algorithms.metaoptnet import MetaOptNet as MetaOptNet
    from metalearn.algorithms.metric import AbstractMetric as AbstractMetric
    from metalearn.algorithms.prototypical import Prototypical as Prototypical
    from metalearn.algorithms.r2d2 import R2D2 as R2D2
    from metalearn.algorithms.relation import Relation as Relation
    from metalearn.algorithms.reptile import Reptile as Reptile
    from metalearn.backbones.base import AbstractBackbone as AbstractBackbone
    from metalearn.backbones.conv4 import Conv4 as Conv4
    from metalearn.backbones.mlp import MLP as MLP
    from metalearn.backbones.norm import BatchNorm as BatchNorm
    from metalearn.backbones.resnet12 import ResNet12 as ResNet12
    from metalearn.data.bank import ClassBank as ClassBank
    from metalearn.data.folder import Folder as Folder
    from metalearn.data.glyphs import Glyphs as Glyphs
    from metalearn.data.mini_imagenet import MiniImageNet as MiniImageNet
    from metalearn.data.omniglot import Omniglot as Omniglot
    from metalearn.data.sinusoid import Sinusoid as Sinusoid
    from metalearn.episodes.datamodule import EpisodicDataModule as EpisodicDataModule
    from metalearn.episodes.functions import FunctionDataModule as FunctionDataModule
    from metalearn.episodes.setting import Setting as Setting
    from metalearn.estimates import Estimate as Estimate
    from metalearn.learner.learner import Learner as Learner
    from metalearn.stats import estimate as estimate
    from metalearn.training.evaluation import evaluate as evaluate
    from metalearn.training.module import FewShotModule as FewShotModule
    from metalearn.types import Episode as Episode
    from metalearn.types import TaskOutput as TaskOutput

__version__ = "0.1.0"

_MODULES = {
    "AbstractAlgorithm": "algorithms.base",
    "AbstractBackbone": "backbones.base",
    "AbstractGradient": "algorithms.gradient",
    "AbstractMetric": "algorithms.metric",
    "Baseline": "algorithms.baseline",
    "BatchNorm": "backbones.norm",
    "ClassBank": "data.bank",
    "Conv4": "backbones.conv4",
    "Episode": "types",
    "EpisodicDataModule": "episodes.datamodule",
    "Estimate": "estimates",
    "FewShotModule": "training.module",
    "Folder": "data.folder",
    "FunctionDataModule": "episodes.functions",
    "Glyphs": "data.glyphs",
    "InnerLoop": "algorithms.gradient",
    "Learner": "learner.learner",
    "MAML": "algorithms.maml",
    "MLP": "backbones.mlp",
    "Matching": "algorithms.matching",
    "MetaOptNet": "algorithms.metaoptnet",
    "MetaSGD": "algorithms.meta_sgd",
    "MiniImageNet": "data.mini_imagenet",
    "Omniglot": "data.omniglot",
    "Prototypical": "algorithms.prototypical",
    "R2D2": "algorithms.r2d2",
    "Relation": "algorithms.relation",
    "Reptile": "algorithms.reptile",
    "ResNet12": "backbones.resnet12",
    "Setting": "episodes.setting",
    "Sinusoid": "data.sinusoid",
    "TaskOutput": "types",
    "estimate": "stats",
    "evaluate": "training.evaluation",
}
"""Module of each public name, relative to the package."""

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value  # later uses find it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
