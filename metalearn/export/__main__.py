"""`python -m metalearn.export RUN FILE.onnx` writes a graph from images to probabilities."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from metalearn.files import check_free
from metalearn.formats import one_line
from metalearn.run.screen import streams

KINDS = (".onnx", ".pt2")


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    try:
        if given.file.suffix not in KINDS:
            raise ValueError(f"{given.file} must end in {' or '.join(KINDS)}")
        check_free(given.file)
        from metalearn.export import command  # late, because torch takes seconds and --help needs none of it

        command.export(given.run, given.file, given.adapted)
        code = 0
    except (ValueError, OSError, ImportError) as error:
        print(f"metalearn.export: {one_line(error)}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m metalearn.export",
        description="Write (support_x, support_y, query_x) -> probabilities as one graph; with --adapted, query_x -> "
        "probabilities of a classifier that has learned its classes already.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory, a checkpoint, or a saved learner")
    parser.add_argument("file", type=Path, metavar="FILE", help="FILE.onnx, or FILE.pt2 for torch.export")
    parser.add_argument(
        "--adapted", type=Path, metavar="SUPPORT", help="a folder of examples for each class, or a CSV of path,label"
    )
    return parser


if __name__ == "__main__":
    streams.make_unbreakable()
    main()
