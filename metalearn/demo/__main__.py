"""`python -m metalearn.demo [RUN]` serves a page on which one draws characters."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from metalearn.formats import installing, one_line
from metalearn.run.screen import streams


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    code = 0
    try:
        _check_installed()
        from metalearn.demo import server  # late, because torch takes seconds and --help needs none of it
        from metalearn.demo.default_run import default_run
        from metalearn.learner import Learner

        learner = Learner.load(given.run or default_run())
        with suppress(KeyboardInterrupt):  # its way to end
            server.serve(learner, given.port)
    except (ValueError, OSError) as error:
        print(f"metalearn.demo: {one_line(error)}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _check_installed() -> None:
    """Raises OSError if the server is missing."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise OSError(f"{error.name} is missing: {installing('demo')}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m metalearn.demo",
        description="Serve a page, to this machine alone: draw characters, a few times each, then one of them again, "
        "and see which one it is. Ends with Ctrl-C.",
    )
    run = "a run directory, a checkpoint or a saved learner of glyphs, omniglot or mnist; without, the default run"
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help=run)
    parser.add_argument(
        "--port", type=int, default=8765, metavar="N", help="port of the page (8765); 0 is any free one"
    )
    return parser


if __name__ == "__main__":
    streams.make_unbreakable()
    main()
