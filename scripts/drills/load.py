"""Runs a sweep under load: many tiny jobs on two slots; some jobs and the controller are killed.

    python scripts/drills/load.py --jobs 500            # about 0.5 s per job on two idle cores

The command of the sweep is repeated until it succeeds. At the end each job must be finished exactly
once in the report, no process may be left, and the controller's memory and file descriptors must
not grow. The seed draws which processes are killed, and when. Otherwise the exit code is 1. The
drill reads /proc of Linux.
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
from dataclasses import dataclass, field
from pathlib import Path

from marked import environment, marked, new_mark, processes

from metalearn.report.reading.runs import find

TINY = (
    "dataset.num_alphabets=[3,1,1] dataset.characters=8 backbone.channels=4 episode.train.way=5 episode.train.query=2 "
    "episode.val.num_episodes=2 episode.test.num_episodes=2 trainer.max_steps=1 trainer.val_check_interval=1"
).split()
"""Overrides of the smallest run."""

LOOK = 0.03  # interval in seconds
SETTLED = 0.2
"""Fraction of its jobs after which a controller has loaded all that it needs."""

MOST_GROWTH = 16.0
"""Allowed growth of a controller afterwards, in MiB; it keeps overrides and status of each job."""

MOST_DESCRIPTORS = 40


@dataclass
class Controller:
    """Samples of one process of the sweep command."""

    began_at: int  # number of finished jobs at its start
    samples: list[tuple[int, float, int]] = field(default_factory=list)  # finished jobs, MiB, file descriptors

    def settled(self) -> list[tuple[int, float, int]]:
        """Returns the samples after its first own job; two earlier jobs may still run."""
        enough = self.began_at + max(3.0, SETTLED * (self.samples[-1][0] - self.began_at)) if self.samples else 0.0
        return [sample for sample in self.samples if sample[0] >= enough]


class Drill:
    """One sweep whose processes are killed.

    Args:
        folder: folder of the sweep.
        jobs: number of jobs.
        kills: fraction of the jobs with a killed attempt.
        restarts: number of times that the controller is killed.
        seed: seed of the kills.
        limit: time limit in seconds.
    """

    def __init__(self, folder: Path, *, jobs: int, kills: float, restarts: int, seed: int, limit: float) -> None:
        self.folder, self.jobs, self.deadline = folder, jobs, time.monotonic() + limit
        self.random = random.Random(seed)
        self.victims = set(self.random.sample(range(jobs), round(kills * jobs)))
        cuts = [round(jobs * (i + 1) / (restarts + 1)) for i in range(restarts)]
        self.controller_dies_at = [cut + self.random.randint(-jobs // 20, jobs // 20) for cut in cuts]
        self.mark = new_mark()
        self.command = [sys.executable, "-m", "metalearn", "-m", f"seed=range({jobs})", *TINY]
        self.command += [f"hydra.sweep.dir={folder}", "hydra.launcher.slots=2", "hydra.launcher.preload=true"]
        self.controllers: list[Controller] = []
        self.exit_codes: list[int] = []
        self.due: dict[int, tuple[float, int]] = {}  # time of the kill and process, by job
        self.killed = Counter[int]()
        self.finished = 0

    def run(self) -> None:
        """Repeats the command until it succeeds. Raises TimeoutError."""
        while not self.exit_codes or self.exit_codes[-1] != 0:
            self._run_once()

    def _run_once(self) -> None:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        self._count()
        self.controllers.append(Controller(self.finished))
        with subprocess.Popen(self.command, env=environment(self.mark), **quiet) as process:
            while process.poll() is None:
                if time.monotonic() > self.deadline:
                    for pid in self.left():
                        os.kill(pid, signal.SIGKILL)
                    raise TimeoutError(f"{self.finished} of {self.jobs} jobs were finished")
                self._look(process)
                time.sleep(LOOK)
        self.exit_codes.append(process.returncode)

    def _look(self, controller: subprocess.Popen) -> None:
        """Samples the controller, and kills the processes that are due."""
        self._count()
        # After the last job, the report loads packages of its own.
        if self.finished < self.jobs and (seen := memory_and_descriptors(controller.pid)) is not None:
            self.controllers[-1].samples.append((self.finished, *seen))
        now = time.monotonic()
        for number, pid in self._at_work().items():
            if number in self.victims and number not in self.due and not self.killed[number]:
                self.due[number] = (now + self.random.uniform(0, 0.5), pid)
        for number, (when, pid) in list(self.due.items()):
            if now >= when:
                del self.due[number]
                if self._at_work().get(number) == pid:
                    os.killpg(pid, signal.SIGKILL)
                    self.killed[number] += 1
                else:  # the job has ended, so another one is chosen
                    self.victims.add(self.random.choice([*({*range(self.jobs)} - self.victims)]))
        if self.controller_dies_at and self.finished >= self.controller_dies_at[0]:
            self.controller_dies_at.pop(0)
            controller.kill()

    def _count(self) -> None:
        self.finished = sum((self.folder / f"{i}/result.json").exists() for i in range(self.jobs))

    def _at_work(self) -> dict[int, int]:
        """Returns the process of each running job; it leads its group and writes the job's log."""
        found = {}
        for pid in processes():
            try:
                log = Path(os.readlink(f"/proc/{pid}/fd/1"))
                if log.name == "stdout.log" and log.parents[1] == self.folder and os.getpgid(pid) == pid:
                    found[int(log.parent.name)] = pid
            except OSError:  # the process has ended, or belongs to another user
                continue
        return found

    def left(self) -> list[int]:
        """Returns the processes of the sweep."""
        return marked(self.mark)

    def figures(self, seconds: float) -> dict[str, object]:
        runs = Counter(int(run.folder.name) for run in find([self.folder]).runs if run.completed)
        settled = [part for part in map(Controller.settled, self.controllers) if part]
        growth = max((max(m for _, m, _ in part) - part[0][1] for part in settled), default=0.0)
        descriptors = [max(d for _, _, d in part) for part in settled]
        return {
            "jobs": self.jobs,
            "attempts of jobs killed (SIGKILL)": self.killed.total(),
            "controllers killed (SIGKILL)": sum(code == -signal.SIGKILL for code in self.exit_codes),
            "commands until the end": len(self.exit_codes),
            "jobs finished exactly once": sum(runs[i] == 1 for i in range(self.jobs)),
            "processes left": len(self.left()),
            "growth of a controller's memory (MiB)": round(growth, 1),
            "most memory of a controller (MiB)": round(max((m for part in settled for _, m, _ in part), default=0.0)),
            "most descriptors of the controllers": descriptors,
            "seconds": round(seconds),
        }


def memory_and_descriptors(pid: int) -> tuple[float, int] | None:
    """Returns resident memory in MiB and the number of open files; None after the process's end."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        kibibytes = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), None)
        return None if kibibytes is None else (kibibytes / 1024, len(os.listdir(f"/proc/{pid}/fd")))
    except OSError:
        return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--kills", type=float, default=0.05, help="fraction of the jobs with a killed attempt")
    parser.add_argument("--restarts", type=int, default=2, help="number of kills of the controller")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=3600, help="time limit in seconds")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="metalearn-load-") as folder:
        drill = Drill(Path(folder).resolve() / "sweep", **vars(given))
        began = time.monotonic()
        drill.run()
        seconds = time.monotonic() - began
        patience = time.monotonic() + 15  # a fork server ends after its controller
        while drill.left() and time.monotonic() < patience:
            time.sleep(0.1)
        figures = drill.figures(seconds)
    for name, value in figures.items():
        print(f"| {name} | {value} |")
    right = (
        figures["jobs finished exactly once"] == given.jobs
        and figures["processes left"] == 0
        and figures["controllers killed (SIGKILL)"] == given.restarts
        and figures["growth of a controller's memory (MiB)"] < MOST_GROWTH
        and max(figures["most descriptors of the controllers"], default=0) < MOST_DESCRIPTORS
    )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
