"""Writes the tables of README.md and docs/ from the records in docs/records/.

The first lines of an experiment with a record say what it reached, and in which time.

    python scripts/write_tables.py

A table is between two comments of a page. The first names the experiments, with * for any letters:

    <!-- table of snell2017_omniglot_* -->
    <!-- end of table -->

A row is an experiment in one test setting: the mean over its seeds with Student's 95 % interval.
With one seed, the interval is over its episodes. The commands of its records may differ in the seed
and in the limits of steps and time, so its steps and minutes are the fewest and the most.
"""

import fnmatch
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from metalearn.report.comparing.protocol import protocol
from metalearn.run.directory.keys import key
from metalearn.run.directory.published import published
from metalearn.run.directory.result import Evaluation, Result
from metalearn.stats import Estimate, estimate

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(<!-- table of (?P<names>\S+) -->\n)(?P<rows>.*?)(<!-- end of table -->)", re.DOTALL)
EXPERIMENTS = sorted((ROOT / "conf/experiment").glob("*.yaml"))
MEASURED = re.compile(r"(?<=^# @package _global_\n)(# Measured: .*\n)?")
HEADS = (
    "experiment",
    "tested on",
    "accuracy %",
    "published",
    "trained on",
    "batch norm",
    "seeds, episodes",
    "steps",
    "minutes",
)
OF_A_SEED = {"seed", "trainer.max_steps", "trainer.max_time"}
"""Keys in which the commands of an experiment's records may differ."""


class Row(NamedTuple):
    """An experiment in one test setting, with the result of each seed."""

    experiment: str
    setting: str
    results: list[Result]
    evaluations: list[Evaluation]

    def cells(self) -> list[str]:
        first = self.results[0]
        how = protocol(first, None)
        number = published(first) if self.setting == _main_setting(first) else None
        return [
            f"`{self.experiment}`",
            f"{first.test_dataset or first.dataset} {self.setting}, {_queries(first)}",
            f"**{self.accuracy}**",
            f"{round(100 * number.accuracy, 2)} ({number.source})" if number and number.accuracy else "-",
            how.training,
            how.batch_norm_kind,
            f"{len(self.results)}, {self._scores[0].num_episodes}",
            self.steps,
            self.minutes,
        ]

    @property
    def accuracy(self) -> str:
        """Mean in percent, with its interval over the seeds, or over the episodes of one seed."""
        means = [score.mean for score in self._scores]
        over = estimate(means) if len(means) > 1 else self._scores[0]
        return f"{100 * over.mean:.2f} ± {100 * over.ci95:.2f}"

    @property
    def steps(self) -> str:
        return _ends([result.steps or 0 for result in self.results])

    @property
    def minutes(self) -> str:
        """Minutes of the training."""
        return _ends([round((result.seconds.fit or 0) / 60) for result in self.results])

    @property
    def _scores(self) -> list[Estimate]:
        scores = [evaluation.accuracy for evaluation in self.evaluations]
        assert all(scores), "a table of accuracies"
        return [score for score in scores if score]


def read() -> dict[str, list[Result]]:
    """Reads the results of each experiment, in the order of their seeds.

    Raises ValueError if the seeds of an experiment have other commands.
    """
    results = defaultdict(list)
    for path in sorted((ROOT / "docs/records").glob("*.json")):
        kept: dict[str, Any] = json.loads(path.read_text())
        results[path.stem.rpartition("-seed")[0]].append(Result.from_json(json.dumps(kept["result"])))
    for name, of_seeds in results.items():
        _check_commands(name, of_seeds)
    return {name: sorted(of_seeds, key=lambda result: result.seed) for name, of_seeds in results.items()}


def _check_commands(experiment: str, results: list[Result]) -> None:
    commands = [{o for o in result.overrides if key(o) not in OF_A_SEED} for result in results]
    if odd := set.union(*commands) - set.intersection(*commands):
        raise ValueError(f"the records of {experiment} differ in {' '.join(sorted(odd))}: keep those of one command")


def rows(names: str, records: dict[str, list[Result]]) -> Iterator[Row]:
    for experiment in sorted(fnmatch.filter(records, names)):
        results = records[experiment]
        yield Row(experiment, _main_setting(results[0]), results, [result.test for result in results if result.test])
        for other in results[0].evaluations or {}:
            yield Row(experiment, _words(other), results, [(result.evaluations or {})[other] for result in results])


def written(page: str, records: dict[str, list[Result]]) -> str:
    """Returns the page with new tables. Raises ValueError if a table has no records."""

    def table(match: re.Match[str]) -> str:
        lines = [row.cells() for row in rows(match["names"], records)]
        if not lines:
            raise ValueError(f"docs/records/ has no record of {match['names']}")
        body = "".join(f"| {' | '.join(cells)} |\n" for cells in (HEADS, ["---"] * len(HEADS), *lines))
        return f"{match[1]}{body}{match[4]}"

    return BLOCK.sub(table, page)


def headed(experiment: str, text: str, records: dict[str, list[Result]]) -> str:
    """Returns the config of an experiment with what its records reached, if it has any."""
    line = ""
    if experiment in records:
        row = next(rows(experiment, records))
        seeds = f"{len(row.results)} seed{'s' if len(row.results) > 1 else ''}"
        line = f"# Measured: {row.accuracy} %, {seeds} of {row.steps} steps, {row.minutes} minutes (docs/results.md).\n"
    return MEASURED.sub(line, text)


def _ends(numbers: list[int]) -> str:
    """Formats the smallest and the largest number, or the one number that they all are."""
    return " to ".join(f"{end:,}" for end in sorted({min(numbers), max(numbers)}))


def _main_setting(result: Result) -> str:
    test = result.episode.test
    return f"{test.way}-way {test.shot}-shot"


def _queries(result: Result) -> str:
    """Names the queries of each class; further settings have as many as the main test."""
    query = result.episode.test.query
    return f"{query} quer{'y' if query == 1 else 'ies'}"


def _words(setting: str) -> str:
    match = re.fullmatch(r"(\d+)w(\d+)s(.*)", setting)
    return f"{match[1]}-way {match[2]}-shot{match[3].replace('-', ', ')}" if match else setting


def main() -> None:
    try:
        records = read()
        pages = {path: written(path.read_text(), records) for path in PAGES}
        pages |= {path: headed(path.stem, path.read_text(), records) for path in EXPERIMENTS}
    except ValueError as error:
        sys.exit(f"write_tables: {error}")
    for path, new in pages.items():
        if new != path.read_text():
            path.write_text(new)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
