"""`python -m metalearn.report DIR...` compares runs, on the terminal, in files and in W&B."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from metalearn.report.comparing import contents
from metalearn.report.export import write
from metalearn.report.sheet import terminal
from metalearn.report.tables import tables
from metalearn.report.to_wandb import log
from metalearn.run.screen import streams


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m metalearn.report",
        description="Compare finished runs. Runs that differ in their seed alone are averaged: mean ± 95 % interval "
        "over the seeds (over the test episodes when there is one). Runs of different protocols are marked.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="run directories, or folders of them")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FOLDER",
        help="also write report.html, report.md, report.tex and tables as .csv into this folder",
    )
    parser.add_argument(
        "--wandb",
        nargs="?",
        const="",
        metavar="PROJECT",
        help="also log a table of all jobs, the table of methods and the page as one W&B run; offline into the first "
        "DIR without an API key",
    )
    arguments = parser.parse_args(given)
    try:
        found = contents.read(arguments.folders)
        written = write(arguments.write, found) if arguments.write else []
        logged = log(found, arguments.folders[0], arguments.wandb) if arguments.wandb is not None else ""
    except (ValueError, OSError) as error:
        sys.exit(f"metalearn.report: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    for line in found.damaged:
        print(f"metalearn.report: {line}", file=sys.stderr)
    console = Console() if sys.stdout.isatty() else Console(width=180)
    for sheet in tables.all_sheets(found):
        console.print(terminal(sheet), highlight=False)
    for path in written:
        console.print(f"written: {path}", highlight=False, markup=False, soft_wrap=True)
    if logged:
        console.print(logged, highlight=False, markup=False, soft_wrap=True)
    if found.is_empty:
        sys.exit(1)


if __name__ == "__main__":
    streams.make_unbreakable()
    main()
