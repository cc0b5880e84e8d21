"""Prints a table of the intent data sets: each method's mean over their class splits.

    python scripts/mean_over_folds.py outputs/sweeps/ngrams outputs/sweeps/vectors

A row is an algorithm with a backbone and its training steps, a column a data set in one test
setting. The interval is Student's 95 % interval over the splits. With one split, it is over its
episodes, and the split is named. Two runs of one row on one split are refused;
`python -m metalearn.report` has a row for each of their settings.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from metalearn.estimates import Estimate
from metalearn.run.directory.result import Result
from metalearn.stats import estimate

Method = tuple[str, str, int]
"""Algorithm, backbone and number of training steps."""
Setting = tuple[str, str]
"""Data set and test setting, such as 5w1s."""
Scores = dict[int, Estimate]
"""Accuracy on each split of the classes, by its number."""


def read(sweeps: Iterable[Path]) -> dict[Method, dict[Setting, Scores]]:
    """Reads the completed runs of sweeps."""
    found: dict[Method, dict[Setting, Scores]] = defaultdict(lambda: defaultdict(dict))
    for path in sorted(path for sweep in sweeps for path in sweep.glob("*/result.json")):
        result = Result.from_json(path)
        if result.status != "completed":
            continue
        fold = yaml.safe_load((path.parent / "hparams.yaml").read_text())["dataset"].get("fold")
        if fold is None:
            sys.exit(f"mean_over_folds: {path.parent} has no class split, as {result.dataset} has none: leave it out")
        settings = found[result.algorithm, result.backbone, result.steps or 0]
        for setting, score in _accuracies(result):
            if fold in settings[result.dataset, setting]:
                sys.exit(f"mean_over_folds: {path.parent} and another run are the same row on split {fold}")
            settings[result.dataset, setting][fold] = score
    return found


def _accuracies(result: Result) -> Iterator[tuple[str, Estimate]]:
    test = result.episode.test
    tested = {f"{test.way}w{test.shot}s": result.test, **(result.evaluations or {})}
    for setting, evaluation in tested.items():
        if evaluation is not None and evaluation.accuracy is not None:
            yield setting, evaluation.accuracy


def cell(scores: Scores) -> str:
    """Writes the mean over the splits in percent.

    >>> cell({1: Estimate(0.5, 0.1, 0.01, 100)})
    '50.0 ± 1.0 (split 1)'
    """
    if not scores:
        return "-"
    if len(scores) == 1:
        ((fold, score),) = scores.items()
        return f"{100 * score.mean:.1f} ± {100 * score.ci95:.1f} (split {fold})"
    over = estimate([score.mean for score in scores.values()])
    few = "" if len(scores) == 5 else f" ({len(scores)} splits)"
    return f"{100 * over.mean:.1f} ± {100 * over.ci95:.1f}{few}"


def table(found: dict[Method, dict[Setting, Scores]]) -> str:
    """Writes the table in Markdown."""
    columns = sorted({setting for settings in found.values() for setting in settings})
    lines = [["algorithm", "backbone", "steps", *(" ".join(column) for column in columns)]]
    lines.append(["---"] * len(lines[0]))
    for (algorithm, backbone, steps), settings in sorted(found.items(), key=lambda item: item[0][1::-1]):
        cells = (cell(settings.get(column, {})) for column in columns)
        lines.append([f"`{algorithm}`", f"`{backbone}`", f"{steps:,}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", metavar="DIR", nargs="+", type=Path, help="directory of a sweep")
    found = read(parser.parse_args().sweeps)
    if not found:
        sys.exit("mean_over_folds: the directories hold no completed run")
    print(table(found))


if __name__ == "__main__":
    main()
