"""`python -m metalearn.predict RUN --support DIR --query DIR` sorts images by a trained run."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from metalearn.formats import one_line
from metalearn.predict.outputs import check_outputs
from metalearn.run.screen import streams


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    try:
        if not 0 <= (given.reject or 0) <= 1:
            raise ValueError(f"--reject {given.reject:g} must be a probability, from 0 to 1")
        if not given.demo and (given.run is None or not given.query):
            raise ValueError("name a run and what to sort: RUN --support DIR --query DIR, or try --demo")
        check_outputs(given.csv, given.html, given.sort_into)
        from metalearn.predict import command, demo  # late, because torch takes seconds and --help needs none of it

        if given.demo:
            given.run, given.support, given.query = demo.prepare(given.run)
        command.predict(given)
        code = 0
    except (ValueError, OSError) as error:
        print(f"metalearn.predict: {one_line(error)}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m metalearn.predict",
        description="Sort images or texts into classes of which a few examples are given. Unreadable files are listed "
        "and left out. Ends with 0, or with 2 where nothing could be read or done.",
    )
    add = parser.add_argument
    add("run", nargs="?", type=Path, metavar="RUN", help="a run directory, a checkpoint, or a learner that was saved")
    add(
        "--support",
        type=Path,
        metavar="DIR",
        help="a folder of examples for each class, or a CSV file of path,label; of texts: text,label",
    )
    add(
        "--query",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="images to sort: files, or folders of them; texts: files with one in each line, or CSV",
    )
    add("--reject", type=float, metavar="P", help="probability below which an image is none of the classes")
    add("--csv", type=Path, metavar="FILE", help="write path, label and probability of each image")
    add("--html", type=Path, metavar="FILE", help="write a page with each image, and the examples that decided")
    add("--sort-into", type=Path, metavar="DIR", help="copy each image into a folder of its class")
    add("--demo", action="store_true", help="draw characters and sort them; without RUN, train for that first")
    return parser


if __name__ == "__main__":
    streams.make_unbreakable()
    main()
