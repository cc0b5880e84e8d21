"""The test of a run: fields of result.json for its meta-test episodes and other settings."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.loaders import AbstractEpisodes
from metalearn.episodes.setting import Setting
from metalearn.estimates import ErrorRate, Estimate
from metalearn.formats import named_fields
from metalearn.stats import estimate, wilson
from metalearn.training.evaluations.base import AbstractEvaluation, MetaTest, Precision, Scored, checked
from metalearn.training.module import FewShotModule
from metalearn.training.scores import curves

Scores = dict[str, np.ndarray]
"""Scores by name, one number or curve for every episode."""


def evaluate(trainer: pl.Trainer, module: FewShotModule, data: AbstractEpisodes[Any]) -> tuple[dict[str, Any], Scores]:
    """Scores the meta-test episodes; metrics are logged under `data.test_name`/...

    Examples:
        >>> from metalearn import MLP, ClassBank, Prototypical
        >>> images = np.random.default_rng(0).integers(256, size=(5, 4, 1, 2, 2), dtype=np.uint8)
        >>> data = EpisodicDataModule(
        ...     {"test": ClassBank.from_classes(images, list("abcde"))},
        ...     {"test": Setting(way=5, shot=1, query=3, num_episodes=10)},
        ...     seed=0, tasks_per_batch=1,
        ... )
        >>> algorithm = Prototypical(MLP([1, 2, 2]), batch_norm="running")
        >>> module = FewShotModule(algorithm, torch.optim.Adam)
        >>> trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
        >>> fields, scores = evaluate(trainer, module, data)
        >>> fields["accuracy"]["num_episodes"], scores["accuracy"].shape
        (10, (10,))
    """
    trainer.test(module, datamodule=data, verbose=False)
    scores = module.scores["test"]
    score_name = module.algorithm.objective.score_name
    fields: dict[str, Any] = {
        **{name: estimate(scores[name])._asdict() for name in (score_name, "loss", *module.algorithm.objective.others)},
        "episodes_sha256": data.tested_sha256(len(scores["loss"])),
        **curves(scores),
    }
    if module.calibration_error is not None:
        fields["calibration_error"] = module.calibration_error
    return fields, scores


def meta_test(
    module: FewShotModule, data: AbstractEpisodes[Any], device: torch.device, precision: Precision = nullcontext
) -> MetaTest:
    """Returns the subject of an evaluation beside the accuracy.

    Raises ValueError for a data set without classes.
    """
    if not isinstance(data, EpisodicDataModule):
        raise ValueError("evaluation.further is for data sets of classes: use evaluation=episodes")
    return MetaTest(module.algorithm, data.banks["test"], data.settings["test"], device, precision)


def evaluate_further(
    trainer: pl.Trainer, module: FewShotModule, data: AbstractEpisodes[Any], evaluation: AbstractEvaluation
) -> Scored:
    """Scores the meta-test images by an evaluation; the network has the precision of the trainer.

    Raises TypeError if the evaluation returns anything but scores.
    """
    device, precision = trainer.strategy.root_device, trainer.precision_plugin.forward_context
    module.to(device).eval()
    with torch.no_grad():
        return checked(evaluation(meta_test(module, data, device, precision)), type(evaluation).__name__)


def error_rate(accuracy: Estimate, queries: int) -> ErrorRate:
    """Computes the error rate over all trials with Wilson's interval, as Lake et al. 2015."""
    total = accuracy.num_episodes * queries
    wrong = total - round(accuracy.mean * total)
    return ErrorRate(wrong / total, *wilson(wrong, total), total)


def settings_beside(like: Setting, names: Sequence[str] | None, *, predicts_jointly: bool) -> dict[str, Setting]:
    """Builds the further settings of a test, by name; `like` is its first.

    None: unequal queries where the algorithm `predicts_jointly`, since their accuracy may rest on
    equal ones; no setting else.
    """
    if names is None:
        compares = predicts_jointly and like.has_one_shape and like.queries == "equal"
        names = [f"{like.way}w{like.shot}s-unequal"] if compares else []
    return {name: named_setting(name, like) for name in names}


def named_setting(name: str, like: Setting) -> Setting:
    """Parses the setting "5w1s": 5-way 1-shot, with as many queries as `like`.

    "5w1s-unequal" has unequal queries. Raises ValueError for another form.
    """
    if (fields := named_fields(name)) is None:
        raise ValueError(
            f"evaluation.settings holds {name!r}; write 5w1s for 5-way 1-shot, 5w1s-unequal for unequal queries"
        )
    return replace(like, **fields)
