"""`python -m metalearn.sweep COMMAND DIR`: looks at a sweep, and stops it, from any terminal."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from metalearn.run.command import sweep_command
from metalearn.run.directory import sweep_record
from metalearn.run.directory.folder import RunFolder
from metalearn.run.screen import streams
from metalearn.sweep import board
from metalearn.sweep.cancel import cancel
from metalearn.sweep.ending import report
from metalearn.sweep.retry import clear_failed
from metalearn.sweep.screen import make_console
from metalearn.sweep.standing import Standing


def main() -> None:
    """Runs a command; the exit code is 1 when a job has failed, 2 for bad input."""
    streams.make_unbreakable()
    given = _parser().parse_args()
    try:
        if not (given.sweep / sweep_record.NAME).is_file():
            raise ValueError(f"{given.sweep} holds no sweep: it has no {sweep_record.NAME}")
        code: int = given.run(given)
    except (ValueError, OSError) as error:
        print(f"metalearn.sweep: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m metalearn.sweep", description="Look at a sweep, and stop it.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (
        ("status", _status, "print the state of every job"),
        ("watch", _watch, "show the state of the jobs until all have ended, and write the report"),
        ("cancel", _cancel, "end the running jobs, which save, and start no other"),
        ("logs", _logs, "print the output of a job"),
        ("retry", _retry, "set failed jobs back, for the command of the sweep to start them again"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        command.add_argument("sweep", type=Path, metavar="DIR", help="directory of the sweep")
        if name == "logs":
            command.add_argument("job", metavar="JOB", help="name of the job's directory, such as 3")
    return parser


def _status(given: argparse.Namespace) -> int:
    return _exit_code(board.status(given.sweep, make_console()))


def _watch(given: argparse.Namespace) -> int:
    standings = board.watch(given.sweep, make_console())
    print(report(given.sweep, [standing.job for standing in standings]))
    return _exit_code(standings)


def _cancel(given: argparse.Namespace) -> int:
    away = cancel(given.sweep)
    for line in away:
        print(line)
    board.status(given.sweep, make_console())
    return 1 if away else 0


def _logs(given: argparse.Namespace) -> int:
    log = RunFolder(given.sweep / given.job).output
    if not log.is_file():
        raise ValueError(f"job {given.job} has no output: there is no {log}")
    with log.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    return 0


def _retry(given: argparse.Namespace) -> int:
    cleared = clear_failed(given.sweep)
    names = " ".join(standing.name for standing in cleared)
    counted = "1 failed job is" if len(cleared) == 1 else f"{len(cleared)} failed jobs are"
    print(f"{counted} set back{f': {names}' if names else ''}")
    if cleared:
        print(f"to start them: {sweep_command.from_here(given.sweep)}")
    return 0


def _exit_code(standings: Sequence[Standing]) -> int:
    return 1 if any(standing.state == "failed" for standing in standings) else 0


if __name__ == "__main__":
    main()
