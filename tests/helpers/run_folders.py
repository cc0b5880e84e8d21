"""Run directories like those of finished runs, made without running anything."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from metalearn.report.comparing.comparison import Comparison
from metalearn.report.comparing.contents import Contents
from metalearn.report.comparing.heading import Heading
from metalearn.report.reading.runs import Run
from metalearn.run.directory import study_record
from metalearn.run.directory.result import Result
from metalearn.run.trials.trial import open_storage

TRAIN = {"way": 20, "shot": 1, "query": 5}
NUM_EPISODES = 100


def result(mean: float | None = 0.9, **changes: Any) -> dict[str, Any]:
    """Returns the result.json of a completed run, or of a run without a test."""
    return {
        "status": "completed",
        "error": None,
        "dataset": "glyphs",
        "algorithm": "prototypical",
        "backbone": "conv4",
        "batch_norm": "running",
        "seed": 0,
        "episode": episode(),
        "tasks_per_batch": 1,
        "devices": 1,
        "test": None
        if mean is None
        else {
            "accuracy": {"mean": mean, "std": 0.1, "ci95": 0.008, "num_episodes": NUM_EPISODES},
            "episodes_sha256": "0123456789abcdef",
        },
        "steps": 600,
        "overrides": ["seed=0", "logger=csv"],
        "num_parameters": 111_936,
        "seconds": {"fit": 60.0, "test": 8.0},
        "peak_memory_bytes": 10**9,
        **changes,
    }


def regression(mean: float | None, **changes: Any) -> dict[str, Any]:
    """Returns the result.json of a completed regression; None: of a diverged one."""
    error = {"mean": mean, "std": 0.1, "ci95": 0.01, "num_episodes": NUM_EPISODES}
    if mean is None:
        error |= {"std": None, "ci95": None}
    test = {"mse": error, "mse_by_step": [3.0, mean], "episodes_sha256": "ab"}
    return result(**{"algorithm": "maml", "dataset": "sinusoid", "test": test, **changes})


def runs(*results: dict[str, Any]) -> list[Run]:
    """Returns runs with these results, in directories that do not exist."""
    return [Run(Path(f"run{i}"), Result.from_json(json.dumps(fields))) for i, fields in enumerate(results)]


def contents(comparison: Comparison, **others: Any) -> Contents:
    """Returns a report of compared runs, without searches."""
    empty = {key: [] for key in ("runs", "groups", "searches", "unread", "failed", "unfinished", "refused", "damaged")}
    return Contents(heading=Heading("runs", "", []), comparison=comparison, **{**empty, **others})


def episode(
    *, way: int = 5, shot: int | list[int] = 1, query: int = 15, train: dict[str, Any] = TRAIN
) -> dict[str, Any]:
    return {
        "train": train,
        "val": {"way": 5, "shot": 1, "query": 15, "num_episodes": 50},
        "test": {"way": way, "shot": shot, "query": query, "num_episodes": NUM_EPISODES},
    }


def leave(folder: Path, fields: dict[str, Any], scores: np.ndarray | None = None, steps: int = 0) -> Path:
    """Writes a run directory: scores (E,) in test_episodes.npz, validations every ten steps."""
    folder.mkdir(parents=True)
    if scores is not None:
        (measure,) = fields["test"].keys() & {"accuracy", "mse"}
        fields["test"][measure]["num_episodes"] = len(scores)
    (folder / "result.json").write_text(json.dumps(fields))
    if scores is not None:
        np.savez(folder / "test_episodes.npz", **{measure: scores.astype(np.float32)})
    if steps:
        rows = ["step,train/loss,val/accuracy,val/seconds"]
        for step in range(1, steps + 1):
            rows.append(f"{step},{1 / step:.4f},,")
            rows += [f"{step},,{0.9 - 0.5 / step:.4f},{step / 7:.2f}"] if step % 10 == 0 else []
        (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    return folder


def sweep(
    folder: Path, algorithms: dict[str, float], *, shots: tuple[int, ...] = (1, 5), seeds: int = 3, steps: int = 40
) -> list[Path]:
    """Writes a run directory for each algorithm, shot and seed.

    `algorithms` maps names to mean accuracies at one shot. All methods share the difficulty of an
    episode, which pairing cancels.
    """
    folders = []
    for shot in shots:
        hard = np.random.default_rng(shot).normal(0, 0.1, NUM_EPISODES)
        for a, (algorithm, mean) in enumerate(algorithms.items()):
            for seed in range(seeds):
                noise = np.random.default_rng([shot, a, seed]).normal(0, 0.02, NUM_EPISODES)
                scores = np.clip(mean + 0.02 * (shot - 1) + hard + noise, 0, 1)
                fields = result(float(scores.mean()), algorithm=algorithm, seed=seed, episode=episode(shot=shot))
                fields["overrides"] = [f"algorithm={algorithm}", f"seed={seed}", f"episode.test.shot={shot}"]
                fields["test"]["episodes_sha256"] = hashlib.sha256(str(shot).encode()).hexdigest()
                if "maml" in algorithm:
                    fields |= {"batch_norm": "batch", "transductive": True}
                    fields["test"]["accuracy_by_step"] = [0.2, scores.mean() - 0.05, scores.mean()]
                folders.append(leave(folder / str(len(folders)), fields, scores, steps))
    return folders


DIRECTIONS = {"accuracy": "maximize", "seconds_per_task": "minimize"}


SPREAD = 5**0.5 / 2 - 0.5
"""Inverse of the golden ratio; its multiples, taken modulo one, fill the range evenly."""


def pareto(
    folder: Path,
    points: list[tuple[float, float]],
    objectives: Sequence[str] = ("accuracy", "seconds_per_task"),
    *,
    vary: Sequence[str] = ("optimizer.lr",),
) -> Path:
    """Writes a search whose trial i has these numbers: accuracy, and seconds for a task.

    The first parameter is the accuracy; each further one spreads its values evenly over the range,
    in an order that has nothing to do with the numbers. The search has some of the numbers as
    objectives, in any order.
    """
    folder.mkdir(parents=True)
    storage = str(folder / "study.log")
    directions = [DIRECTIONS[name] for name in objectives]
    study = optuna.create_study(study_name="s", storage=open_storage(storage), directions=directions)
    study.set_user_attr("definition", {"objectives": list(objectives)})
    study_record.write(study_record.StudyRecord(storage, "s", objectives[0]), folder)
    for i, point in enumerate(points):
        numbers = dict(zip(DIRECTIONS, point, strict=True))
        further = {key: SPREAD * place * (i + 1) % 1 for place, key in enumerate(vary[1:], start=1)}
        study.enqueue_trial({vary[0]: point[0], **further})
        trial = study.ask({key: FloatDistribution(0.0, 1.0) for key in vary})
        study.tell(trial, [numbers[name] for name in objectives])
        leave(folder / f"{i:04d}", result(point[0]))
    return folder


def search(
    folder: Path,
    values: list[float],
    *,
    pruned: tuple[int, ...] = (),
    failed: tuple[int, ...] = (),
    score: str = "accuracy",
    vary: tuple[str, ...] = ("optimizer.lr", "algorithm.distance"),
) -> Path:
    """Writes a search whose trial i has values[i] at meta-val, also as its learning rate."""
    folder.mkdir(parents=True)
    storage, name = str(folder / "study.log"), "the-study"
    direction = "maximize" if score == "accuracy" else "minimize"
    study = optuna.create_study(study_name=name, storage=open_storage(storage), direction=direction)
    study_record.write(study_record.StudyRecord(storage, name, score), folder)
    space = {
        "optimizer.lr": FloatDistribution(0.0, 1.0),
        "algorithm.distance": CategoricalDistribution(["cosine", "squared_euclidean"]),
    }
    for i, value in enumerate(values):
        params = {"optimizer.lr": value, "algorithm.distance": ("cosine", "squared_euclidean")[i % 2]}
        params = {key: params[key] for key in vary}
        study.enqueue_trial(params)
        trial = study.ask({key: space[key] for key in vary})
        fields = result(value + 0.01, overrides=[f"{key}={value}" for key, value in params.items()])
        if i in failed:
            study.tell(trial, state=TrialState.FAIL)
            fields |= {"status": "failed", "test": None, "error": f"loss is nan in trial {i}"}
        elif i in pruned:
            trial.report(value, 30)
            study.tell(trial, state=TrialState.PRUNED)
            fields |= {"status": "pruned", "test": None}
        else:
            trial.report(value, 600)
            study.tell(trial, value)
        leave(folder / f"{i:04d}", fields)
    return folder
