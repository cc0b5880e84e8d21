"""Checkpoints of untrained networks, and pictures that are easy to distinguish."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import REPOSITORY, resolved
from hydra.utils import instantiate
from origins import facts
from PIL import Image
from texts import TEXTS, encoding

from metalearn import Learner
from metalearn.data.files.preparation import Preparation
from metalearn.data.text.preparation import TextPreparation

ALGORITHMS = sorted(path.stem for path in (REPOSITORY / "conf/algorithm").glob("*.yaml"))
PREPARATION = Preparation((1, 28, 28), invert=True)
TINY = ("num_base_classes=7", "episode.train.way=5")


def checkpoint(folder: Path, *overrides: str, **changes: Any) -> Path:
    """Writes the checkpoint of a run that ended before its first step."""
    torch.manual_seed(0)
    names = {"dataset": "glyphs", "algorithm": "prototypical", "backbone": "conv4"}
    names |= dict(override.split("=") for override in overrides if override.split("=")[0] in names)
    small = ["backbone.channels=8"] if names["backbone"] == "conv4" else []
    config = resolved(*TINY, *small, *overrides)["algorithm"]
    state = {f"algorithm.{name}": weight for name, weight in instantiate(config).state_dict().items()}
    origin = facts(**names | {"built": config, "preparation": asdict(PREPARATION), **changes})
    path = folder / f"{names['algorithm']}.ckpt"
    torch.save({"metalearn": origin, "state_dict": state, "global_step": 0, "val": None, "temperature": 2.0}, path)
    return path


def text_checkpoint(folder: Path, *overrides: str, **changes: Any) -> Path:
    """Writes the checkpoint of a run on texts that ended before its first step."""
    preparation = TextPreparation.of_training(encoding(), {"train": TEXTS}, 12)
    facts = {"preparation": asdict(preparation), "vocabulary": preparation.tokeniser.identity}
    small = "dataset=text", "dataset.encoding.num_tokens=60", "dataset.encoding.buckets=5", "dataset.input_shape=[12]"
    return checkpoint(folder, *small, "backbone=bag_of_ngrams", *overrides, **facts | changes)


def learner(folder: Path, *overrides: str, **changes: Any) -> Learner:
    return Learner.load(checkpoint(folder, *overrides, **changes))


def pictures(count: int, *, classes: int = 4, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Draws bars on paper, at one angle for each class: `count` of each, and their labels."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for number in range(classes):
        for _ in range(count):
            bar = np.full((40, 40), 255, dtype=np.uint8)
            bar[16:24, 4:36] = rng.integers(0, 40)
            turned = Image.fromarray(bar).rotate(180 * number / classes + rng.normal(0, 4), fillcolor=255)
            images.append(np.asarray(turned))
            labels.append(f"angle {number}")
    return images, labels
