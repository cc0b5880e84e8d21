"""Reading runs, and averaging those that differ in their seed alone."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from metalearn.runner.console import span
from metalearn.stats import estimate


class Protocol(NamedTuple):
    """What must be equal for two accuracies to be comparable or to be averaged."""

    dataset: str
    tested: str  # e.g. "5-way 1-shot"
    queries: int
    episodes: int
    algorithm: str
    backbone: str
    batch_norm: str
    trained: str
    tasks_per_step: int
    others: str  # overrides that are in no other field


ELSEWHERE = (
    "dataset",
    "algorithm",
    "backbone",
    "batch_norm",
    "episode",
    "tasks_per_batch",
    "batch_size",
    "experiment",
    "seed",
)
NOT_OF_THE_RESULT = ("mode", "checkpoint", "resume", "paths", "logger", "debug")


@dataclass(frozen=True)
class Row:
    """The runs of one protocol, over their seeds."""

    protocol: Protocol
    accuracies: list[float]  # of the completed runs
    ci95: float  # over seeds when there are several, else over the episodes of the one
    statuses: list[str]  # of the runs that did not complete
    seconds: float  # of training, mean
    steps: float  # mean
    parameters: int | None
    peak_memory_bytes: float  # largest

    @property
    def mean(self) -> float:
        return sum(self.accuracies) / len(self.accuracies) if self.accuracies else math.nan


def find(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """The results below some folders. Raises FileNotFoundError when a folder has none."""
    results = []
    for folder in folders:
        paths = sorted(folder.rglob("result.json"))
        if not paths:
            raise FileNotFoundError(f"there is no result.json below {folder}")
        results += [json.loads(path.read_text()) for path in paths]
    return results


def summarise(results: Iterable[dict[str, Any]]) -> list[Row]:
    """One row for each protocol, the best of a data set and a test first; of runs of one seed the last counts."""
    groups: dict[Protocol, dict[int, dict[str, Any]]] = {}
    for result in results:
        if result["episode"]:  # else the run was refused before it had a protocol
            groups.setdefault(protocol(result), {})[result["seed"]] = result
    rows = [_row(of, list(seeds.values())) for of, seeds in groups.items()]
    return sorted(rows, key=lambda row: (row.protocol[:4], math.isnan(row.mean), -row.mean))


def protocol(result: dict[str, Any]) -> Protocol:
    train, test = result["episode"]["train"], result["episode"]["test"]
    return Protocol(
        dataset=result["dataset"],
        tested=f"{span(test['way'])}-way {span(test['shot'])}-shot",
        queries=test["query"],
        episodes=test["num_episodes"],
        algorithm=result["algorithm"],
        backbone=result["backbone"],
        batch_norm=result["batch_norm"],
        trained=f"{span(train['way'])}-way {span(train['shot'])}-shot, {train['query']} queries"
        if result.get("batch_size") is None
        else f"{result['batch_size']} images of all base classes",
        tasks_per_step=result["tasks_per_batch"] * (result["devices"] or 1),
        others=" ".join(sorted(o for o in result["overrides"] if not _is_told_elsewhere(o.partition("=")[0]))),
    )


def _is_told_elsewhere(key: str) -> bool:
    group, _, rest = key.lstrip("+~").partition(".")
    if group in ("dataset", "algorithm", "backbone", "experiment") and rest:
        return False  # an argument of a part, not its name
    return group in ELSEWHERE + NOT_OF_THE_RESULT or key == "trainer"


def _row(of: Protocol, results: list[dict[str, Any]]) -> Row:
    done = [result for result in results if result["status"] == "completed"]
    accuracies = [result["test"]["accuracy"] for result in done]
    means = [accuracy["mean"] for accuracy in accuracies]
    ci95 = estimate(means).ci95 if len(means) > 1 else accuracies[0]["ci95"] if means else math.nan
    return Row(
        protocol=of,
        accuracies=means,
        ci95=math.nan if ci95 is None else ci95,
        statuses=[result["status"] for result in results if result["status"] != "completed"],
        seconds=_mean([result["seconds"]["fit"] for result in done]),
        steps=_mean([result["steps"] for result in done]),
        parameters=results[0]["num_parameters"],
        peak_memory_bytes=max((result["peak_memory_bytes"] for result in done), default=math.nan),
    )


def _mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan
