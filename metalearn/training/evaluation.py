"""The test of a run: fields of result.json for its meta-test episodes and other settings."""

import re
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import numpy as np

from metalearn.episodes.loaders import AbstractEpisodes
from metalearn.episodes.sampling import Setting
from metalearn.stats import ErrorRate, Estimate, estimate, wilson
from metalearn.training.module import FewShotModule
from metalearn.training.scores import curves

Scores = dict[str, np.ndarray]
"""Scores by name, one number or curve for every episode."""


def evaluate(trainer: pl.Trainer, module: FewShotModule, data: AbstractEpisodes[Any]) -> tuple[dict[str, Any], Scores]:
    """Scores the meta-test episodes; metrics are logged under `data.test_name`/..."""
    trainer.test(module, datamodule=data, verbose=False)
    scores = module.scores["test"]
    score_name = module.algorithm.objective.score_name
    fields: dict[str, Any] = {
        **{of: estimate(scores[of])._asdict() for of in (score_name, "loss")},
        "episodes_sha256": data.test_episodes_sha256(len(scores["loss"])),
        **curves(scores),
    }
    if module.calibration_error is not None:
        fields["calibration_error"] = module.calibration_error
    return fields, scores


def error_rate(accuracy: Estimate, queries: int) -> ErrorRate:
    """Computes the error rate over all trials with Wilson's interval, as Lake et al. 2015."""
    total = accuracy.num_episodes * queries
    wrong = total - round(accuracy.mean * total)
    return ErrorRate(wrong / total, *wilson(wrong, total), total)


def named_setting(name: str, like: Setting) -> Setting:
    """Parses the setting "5w1s": 5-way 1-shot, with as many queries as `like`.

    Raises ValueError for another form.
    """
    match = re.fullmatch(r"(\d+)w(\d+)s", name)
    if match is None:
        raise ValueError(f"evaluation.settings holds {name!r}; 5w1s, say, is 5-way 1-shot")
    return replace(like, way=int(match[1]), shot=int(match[2]), shots="equal")
