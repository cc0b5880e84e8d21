"""A sweep under load: many tiny jobs on two slots, of which some are killed, and so is the controller.

    python scripts/drills/load.py --jobs 500            # about 0.5 s a job on an idle machine of two cores

The command of the sweep is repeated until it ends well. At the end each job must be finished exactly once in the
report, no process may be left, and the controller must have kept its memory and its file descriptors. What is killed,
and when, is drawn from the seed; the exit code is 1 when something is not as it must be. It looks into /proc of Linux.
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
from uuid import uuid4

from metalearn.report.runs import find

TINY = (
    "dataset.num_alphabets=[3,1,1] dataset.characters=8 backbone.channels=4 episode.train.way=5 episode.train.query=2 "
    "episode.val.num_episodes=2 episode.test.num_episodes=2 trainer.max_steps=1 trainer.val_check_interval=1"
).split()
"""The least that a run can do."""

LOOK = 0.03  # seconds
SETTLED = 0.2
"""Share of its jobs after which a controller has all that it needs in memory."""

MOST_GROWTH = 16.0
"""Mebibytes that a controller may grow by afterwards: of a job it keeps its overrides and its status."""

MOST_DESCRIPTORS = 40


@dataclass
class Controller:
    """What was seen of one process of the sweep command."""

    began_at: int  # jobs finished by then
    samples: list[tuple[int, float, int]] = field(default_factory=list)  # jobs finished, MiB, file descriptors

    def settled(self) -> list[tuple[int, float, int]]:
        """What was seen when it had all in memory: after a job of its own; two may be left of the one before."""
        enough = self.began_at + max(3.0, SETTLED * (self.samples[-1][0] - self.began_at)) if self.samples else 0.0
        return [sample for sample in self.samples if sample[0] >= enough]


class Drill:
    """One sweep, and what is done to it.

    Args:
        folder: of the sweep.
        kills: share of the jobs of which an attempt is killed.
        restarts: how often the controller is.
        limit: seconds for all.
    """

    def __init__(self, folder: Path, *, jobs: int, kills: float, restarts: int, seed: int, limit: float) -> None:
        self.folder, self.jobs, self.deadline = folder, jobs, time.monotonic() + limit
        self.random = random.Random(seed)
        self.victims = set(self.random.sample(range(jobs), round(kills * jobs)))
        cuts = [round(jobs * (i + 1) / (restarts + 1)) for i in range(restarts)]
        self.controller_dies_at = [cut + self.random.randint(-jobs // 20, jobs // 20) for cut in cuts]
        self.token = f"METALEARN_DRILL={uuid4().hex}"
        self.command = [sys.executable, "-m", "metalearn", "-m", f"seed=range({jobs})", *TINY]
        self.command += [f"hydra.sweep.dir={folder}", "hydra.launcher.slots=2", "hydra.launcher.preload=true"]
        self.controllers: list[Controller] = []
        self.exit_codes: list[int] = []
        self.due: dict[int, tuple[float, int]] = {}  # by job, when which process is killed
        self.killed = Counter[int]()
        self.finished = 0

    def run(self) -> None:
        """Repeat the command until it ends well. Raises TimeoutError."""
        while not self.exit_codes or self.exit_codes[-1] != 0:
            self._run_once()

    def _run_once(self) -> None:
        name, _, value = self.token.partition("=")
        environment = {**os.environ, name: value, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        self._count()
        self.controllers.append(Controller(self.finished))
        with subprocess.Popen(self.command, env=environment, **quiet) as process:
            while process.poll() is None:
                if time.monotonic() > self.deadline:
                    for pid in self.left():
                        os.kill(pid, signal.SIGKILL)
                    raise TimeoutError(f"{self.finished} of {self.jobs} jobs were finished")
                self._look(process)
                time.sleep(LOOK)
        self.exit_codes.append(process.returncode)

    def _look(self, controller: subprocess.Popen) -> None:
        """Sample the controller, and kill what is to be killed now."""
        self._count()
        if (seen := memory_and_descriptors(controller.pid)) is not None:
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
                else:  # it was quicker: another one, that has not begun
                    self.victims.add(self.random.choice([*({*range(self.jobs)} - self.victims)]))
        if self.controller_dies_at and self.finished >= self.controller_dies_at[0]:
            self.controller_dies_at.pop(0)
            controller.kill()

    def _count(self) -> None:
        self.finished = sum((self.folder / f"{i}/result.json").exists() for i in range(self.jobs))

    def _at_work(self) -> dict[int, int]:
        """The process of each job at work: the one that leads its group and writes the job's log."""
        found = {}
        for pid in processes():
            try:
                log = Path(os.readlink(f"/proc/{pid}/fd/1"))
                if log.name == "stdout.log" and log.parents[1] == self.folder and os.getpgid(pid) == pid:
                    found[int(log.parent.name)] = pid
            except OSError:  # it has ended, or is another user's
                continue
        return found

    def left(self) -> list[int]:
        """Processes that come from the sweep: it began them with a variable of its own."""
        found = []
        for pid in processes():
            try:
                if self.token.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found.append(pid)
            except OSError:
                continue
        return found

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


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def memory_and_descriptors(pid: int) -> tuple[float, int] | None:
    """Resident MiB, and open files; None when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        kibibytes = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), None)
        return None if kibibytes is None else (kibibytes / 1024, len(os.listdir(f"/proc/{pid}/fd")))
    except OSError:
        return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--kills", type=float, default=0.05, help="share of the jobs of which an attempt is killed")
    parser.add_argument("--restarts", type=int, default=2, help="how often the controller is killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=3600, help="seconds")
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
