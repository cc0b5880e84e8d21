"""`python -m metalearn.report DIR...`: one table of the runs below some folders."""

import argparse
import math
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from metalearn.report.runs import Row, find, summarise


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m metalearn.report",
        description="Compare finished runs. Runs that differ in their seed alone are averaged, mean ± 95 % interval "
        "over the seeds (over the test episodes when there is one); runs of different protocols stay apart.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="run directories, or folders of them")
    try:
        rows = summarise(find(parser.parse_args().folders))
    except FileNotFoundError as error:
        sys.exit(f"metalearn.report: {error}")
    console = Console() if sys.stdout.isatty() else Console(width=180)
    console.print(table(rows))


def table(rows: list[Row]) -> Table:
    head = (
        "dataset,test,algorithm,backbone,batch norm,trained on,with,seeds,accuracy %,steps/s,parameters,peak MB".split(
            ","
        )
    )
    result = Table(*(Column(name, overflow="fold") for name in head), title="meta-test accuracy", title_justify="left")
    for row in rows:
        of = row.protocol
        failed = [f"[red]{len(row.accuracies)} done, {', '.join(row.statuses)}[/red]"] if row.statuses else []
        result.add_row(
            of.dataset,
            f"{of.tested}, {of.queries} queries, {of.episodes} episodes",
            of.algorithm,
            of.backbone,
            f"{of.batch_norm}{' (transductive)' if of.batch_norm == 'batch' else ''}",
            f"{of.trained}, {of.tasks_per_step} tasks",
            of.others,
            *(failed or [str(len(row.accuracies))]),
            number(100 * row.mean, ".2f") + (f" ± {100 * row.ci95:.2f}" if math.isfinite(row.ci95) else ""),
            number(row.steps / row.seconds if row.seconds else math.nan, ".1f"),
            f"{row.parameters:,}" if row.parameters else "-",
            number(row.peak_memory_bytes / 1e6, ".0f"),
        )
    return result


def number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


if __name__ == "__main__":
    main()
