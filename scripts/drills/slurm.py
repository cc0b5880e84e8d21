"""A sweep that is submitted to SLURM and left: watched, struck by kills, retried and cancelled.

    python scripts/drills/slurm.py --jobs 200 --finished 16

It starts a SLURM of two nodes on this machine, as root: `apt-get install slurm-wlm munge`. One
command submits all jobs and ends. Meanwhile `watch` runs. One run is killed, and so is a whole
node: its daemon, and all that runs there. The node comes back. `retry` and the same command start
the failed job again. After some finished jobs, `cancel` ends the rest. The exit code is 0 if every
state is right, the queue is empty, and no process is left.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from load import TINY
from marked import describe, marked, new_mark
from rich.console import Console
from slurm_cluster import NODES, Cluster

from metalearn.run.directory.claim import LOCK, owner
from metalearn.sweep import board, standing

LOOK = 2.0  # seconds


class Drill:
    """The story of one sweep; its figures are in `figures`."""

    def __init__(self, cluster: Cluster, sweep: Path, *, jobs: int, slots: int, limit: float) -> None:
        self.cluster, self.sweep, self.jobs = cluster, sweep, jobs
        self.deadline = time.monotonic() + limit
        self.figures: dict[str, object] = {"jobs": jobs}
        self.submit = ["-m", "metalearn", "-m", f"seed=range({jobs})", *TINY, f"hydra.sweep.dir={sweep}"]
        self.submit += ["hydra/launcher=slurm", "hydra.launcher.wait=false", f"hydra.launcher.slots={slots}"]
        self.submit += ["hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=60"]

    def run(self, *, finished: int, screenshot: Path | None) -> None:
        self._leave("seconds to submit")
        watch = subprocess.Popen(
            [sys.executable, "-m", "metalearn.sweep", "watch", str(self.sweep)],
            env=self.cluster.environment,
            stdout=(self.sweep / "watch.log").open("w"),
        )
        self._until(lambda states: states["completed"] >= finished // 4)
        failed = self._kill_a_run()
        self._until(lambda states: states["failed"] == 1)
        if screenshot is not None:
            draw(self.sweep, screenshot)
        self._lose_a_node(besides=failed)
        self._until(lambda states: states["completed"] >= finished // 2)
        self.figures["failed jobs after the loss"] = self._states()["failed"]
        retried = self._command("retry")
        self.figures["retried"] = retried.stdout.partition("\n")[0]
        self._leave("seconds to submit again")
        self._until(lambda states: states["completed"] >= finished and self._state_of(failed) == "completed")
        began = time.monotonic()
        self.figures["exit code of cancel"] = self._command("cancel").returncode
        self.figures["seconds to cancel"] = round(time.monotonic() - began, 1)
        self.figures["exit code of watch"] = watch.wait(60)
        self.figures |= {f"jobs {state}": count for state, count in sorted(self._states().items())}
        self.figures["jobs in the queue"] = len(self.cluster.queue())

    def _leave(self, name: str) -> None:
        began = time.monotonic()
        done = self._run(self.submit)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        self.figures[name] = round(time.monotonic() - began, 1)
        self.figures[name.replace("seconds to submit", "submitted")] = next(
            line for line in done.stdout.splitlines() if "submitted" in line
        )

    def _kill_a_run(self) -> str:
        """Kills the process of one run on the first node; returns the name of its job."""
        while True:
            for job in standing.jobs(self.sweep):
                run = owner(job.folder / LOCK) if job.is_at_work_elsewhere() else None
                if run is not None and run.pid in marked(self.cluster.mark, SLURMD_NODENAME=NODES[0]):
                    os.kill(run.pid, signal.SIGKILL)
                    return job.folder.name
            self._wait()

    def _lose_a_node(self, *, besides: str) -> None:
        """Ends the second node while a job runs there; it comes back when SLURM has noticed."""
        node = NODES[1]
        while not any(line.split()[1:] == ["RUNNING", node] for line in self.cluster.queue()):
            self._wait()
        self.figures["processes of the lost node"] = self.cluster.lose(node)
        while any(line.endswith(node) for line in self.cluster.queue()):
            self._wait()  # until SLURM has requeued them
        self.cluster.start(node)

    def _until(self, reached: Callable[[Counter[str]], bool]) -> None:
        while not reached(self._states()):
            self._wait()

    def _wait(self) -> None:
        if time.monotonic() > self.deadline:
            raise TimeoutError(f"the drill took too long: {self.figures}, {self._states()}, {self.cluster.queue()}")
        time.sleep(LOOK)

    def _states(self) -> Counter[str]:
        return Counter(job.state for job in standing.read(self.sweep))

    def _state_of(self, name: str) -> str:
        return next(job.state for job in standing.read(self.sweep) if job.name == name)

    def _command(self, word: str) -> subprocess.CompletedProcess[str]:
        return self._run(["-m", "metalearn.sweep", word, str(self.sweep)])

    def _run(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=self.cluster.environment, capture_output=True, text=True, check=False)


def draw(sweep: Path, path: Path) -> None:
    """Draws what `watch` shows now, as an SVG."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=100, file=nowhere, force_terminal=True)
        console.print(board.board(standing.read(sweep), sweep, most=12))
        path.write_text(console.export_svg(title=f"python -m metalearn.sweep watch {sweep.name}"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--finished", type=int, default=16, help="number of finished jobs before the cancel")
    parser.add_argument("--slots", type=int, default=3, help="number of jobs at a time")
    parser.add_argument("--limit", type=float, default=1800, help="seconds")
    parser.add_argument("--screenshot", type=Path, help="file for an SVG of watch")
    given = parser.parse_args()
    if missing := [name for name in ("munged", "slurmctld", "slurmd") if shutil.which(name) is None]:
        sys.exit(f"slurm.py: {' and '.join(missing)} is missing: apt-get install slurm-wlm munge")
    mark = new_mark()
    with tempfile.TemporaryDirectory(prefix="metalearn-slurm-") as folder, Cluster(Path(folder), mark) as cluster:
        os.environ["SLURM_CONF"] = cluster.environment["SLURM_CONF"]  # for the states
        (Path(folder) / "sweep").mkdir()
        drill = Drill(cluster, Path(folder) / "sweep", jobs=given.jobs, slots=given.slots, limit=given.limit)
        drill.run(finished=given.finished, screenshot=given.screenshot)
        daemons = {daemon.pid for daemon in cluster.daemons.values()}
        left = [pid for pid in marked(mark) if pid not in daemons]
        drill.figures["processes left"] = len(left)
        for pid in left:
            print(f"left: {describe(pid)}", file=sys.stderr)
    for name, value in drill.figures.items():
        print(f"| {name} | {value} |")
    states = {name.removeprefix("jobs "): value for name, value in drill.figures.items() if name.startswith("jobs ")}
    ended = sum(states.get(state, 0) for state in ("completed", "interrupted", "waiting"))
    right = (
        ended == given.jobs
        and drill.figures["failed jobs after the loss"] == 1
        and drill.figures["exit code of cancel"] == drill.figures["exit code of watch"] == 0
        and drill.figures["jobs in the queue"] == drill.figures["processes left"] == 0
    )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
