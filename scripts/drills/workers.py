"""Workers of one sweep directory, as the pods of a cluster: some are killed with all they started.

    python scripts/drills/workers.py --workers 4 --jobs 40 --kills 6

Each worker is the same sweep command, with one job at a time. A worker that is killed is started
again, as Kubernetes does. At the end every worker must have ended with exit code 0, every job must
have completed exactly once, and no process may be left. Victims and times are drawn from the seed;
the exit code is 1 when something is wrong. It looks into /proc of Linux.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from load import TINY
from marked import describe, environment, marked, new_mark

from metalearn.sweep import standing
from metalearn.sweep.logs import ENDED

LOOK = 0.1  # seconds
PATIENCE = 60.0
"""Seconds that processes may take to end after the last worker."""


class Worker:
    """A sweep command, with a variable by which its processes are known."""

    def __init__(self, command: list[str]) -> None:
        self.command, self.lives = command, 0
        self.start()

    def start(self) -> None:
        self.mark = new_mark()
        self.lives += 1
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(self.command, env=environment(self.mark), **quiet)

    def left(self) -> list[int]:
        """Returns its processes, those of its jobs included."""
        return marked(self.mark)

    def kill(self) -> None:
        """Ends all of it at once, as the loss of a pod does."""
        for pid in self.left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def run(sweep: Path, *, workers: int, jobs: int, kills: int, seed: int, limit: float) -> dict[str, object]:
    """Runs the drill; returns its figures."""
    chance, began = random.Random(seed), time.monotonic()
    command = [sys.executable, "-m", "metalearn", "-m", f"seed=range({jobs})", *TINY]
    command += [f"hydra.sweep.dir={sweep}", "hydra.launcher.slots=1", "hydra.launcher.preload=true"]
    crew = [Worker(command) for _ in range(workers)]
    marks = sorted(chance.sample(range(1, jobs), kills))  # numbers of finished jobs
    killed = 0
    try:
        while any(worker.process.poll() is None for worker in crew) or any(
            worker.process.returncode for worker in crew
        ):
            if time.monotonic() - began > limit:
                raise TimeoutError(f"the drill took more than {limit:g} s")
            finished = sum((sweep / f"{i}/result.json").exists() for i in range(jobs))
            alive = [worker for worker in crew if worker.process.poll() is None]
            if alive and marks and finished >= marks[0]:
                marks.pop(0)
                chance.choice(alive).kill()
                killed += 1
            for worker in crew:
                if worker.process.poll():
                    worker.start()
            time.sleep(LOOK)
        ended = time.monotonic()  # a fork server ends after its controller
        for pid in (pid for worker in crew for pid in worker.left()):
            print(f"still ending: {describe(pid)}", file=sys.stderr)
        while any(worker.left() for worker in crew) and time.monotonic() - ended < PATIENCE:
            time.sleep(LOOK)
        waited = time.monotonic() - ended
        left = [pid for worker in crew for pid in worker.left()]
        for pid in left:
            print(f"left: {describe(pid)}", file=sys.stderr)
    finally:
        for worker in crew:
            worker.kill()
    ends = Counter[int]()
    for i in range(jobs):
        ends[i] = (sweep / f"{i}/stdout.log").read_text(errors="replace").count(f"{ENDED}0\n")
    states = [job.state for job in standing.read(sweep)]
    return {
        "workers": workers,
        "jobs": jobs,
        "workers killed (SIGKILL)": killed,
        "commands until the end": sum(worker.lives for worker in crew),
        "jobs completed": states.count("completed"),
        "jobs that ended well more than once": sum(count > 1 for count in ends.values()),
        "processes left": len(left),
        "seconds until no process was left": round(waited, 1),
        "seconds": round(time.monotonic() - began),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--kills", type=int, default=6, help="number of workers to kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=1800, help="seconds")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="metalearn-workers-") as folder:
        figures = run(Path(folder).resolve() / "sweep", **vars(given))
    for name, value in figures.items():
        print(f"| {name} | {value} |")
    right = (
        figures["jobs completed"] == given.jobs
        and figures["jobs that ended well more than once"] == 0
        and figures["processes left"] == 0
        and figures["workers killed (SIGKILL)"] == given.kills
    )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
