"""Launcher of sweeps: each job is a process, as if its command had been typed alone.

So DDP is right: in one process its ranks would run the whole sweep. A job that dies ends no other,
and leaves no memory, random state or environment to the next. Subclasses choose where jobs run.
"""

import shlex
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf

from metalearn.formats import number_of
from metalearn.run.command.grammar import quoted
from metalearn.run.directory.keys import key
from metalearn.sweep import definition, dropped, unchanged
from metalearn.sweep.control import attend, watch_cancel
from metalearn.sweep.ending import report, returned
from metalearn.sweep.jobs import AbstractProcess, Job, JobFailed, resuming
from metalearn.sweep.settings import check_settings
from metalearn.sweep.slots import Slots

if TYPE_CHECKING:  # late, because --help must not wait for rich
    from metalearn.sweep.loop import AbstractSource
    from metalearn.sweep.screen import Screen

OF_THE_SWEEP = ("hydra.mode", "hydra.run", "hydra.sweep", "hydra/sweep", "hydra.launch", "hydra/launch")
OF_THE_SWEEPER = ("hydra.sweeper", "hydra/sweeper")
NUMBERED = ("${hydra.job.num}", "${hydra:job.num}")

Stop = signal.Signals | OSError
"""Early end of a loop of jobs: a signal, or a fault of the machine such as a full disk."""

Leave = Callable[[Slots, Sequence[Job]], None]


class AbstractLauncher(Launcher, ABC):
    """Base of the launchers: a sweep, wherever its jobs run.

    Args:
        timeout: seconds after which a job is stopped, which is a failure; None for no limit.
        retries: how often a failed job is started again, from its last checkpoint.
        leave: starts jobs that outlive this process, which then ends; None: it waits for its jobs.
    """

    def __init__(self, *, timeout: float | None, retries: int, leave: Leave | None = None) -> None:
        self.timeout, self.retries, self.leave = timeout, retries, leave

    @abstractmethod
    def make_slots(self, sweep: Path) -> Slots:
        """Prepares the engine; returns its places for jobs. Raises ValueError for bad input."""

    @abstractmethod
    def start(self, slots: Slots, job: Job, places: list[str], held: IO[str]) -> AbstractProcess:
        """Starts a job, which is to hold the lock where it can."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config
        self._trainers: dict[tuple[str, ...], DictConfig] = {}
        self.is_group = cache(partial(_is_group, hydra_context.config_loader))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs to their ends. Raises ValueError for bad input, SystemExit on a signal."""
        from metalearn.sweep.loop import JobList
        from metalearn.sweep.screen import Screen

        sweep, slots = self.prepare()
        recorded = definition.folders(sweep)
        jobs = [self._job(sweep, initial_job_idx + i, list(args), recorded) for i, args in enumerate(job_overrides)]
        for job in jobs:
            if not job.was_finished():
                self.trainer(job)  # finds a wrong name before the sweep is recorded
        definition.record(sweep, jobs, sys.argv[1:])
        finished = [job for job in jobs if job.finished]
        begun = [job for job in jobs if job.finished or resuming(job.folder)]
        unchanged.check(begun, self.config, self.compose, self.is_group)

        screen = Screen(jobs)
        done = f", {len(finished)} finished before" if finished else ""
        screen.say(f"{number_of(len(jobs), 'job')}{done}, {slots.capacity} at a time: {sweep}")
        if self.leave is not None:
            screen.say(submit(jobs, partial(self.leave, slots)))
            screen.say(f"to watch them: python -m metalearn.sweep watch {shlex.quote(str(sweep))}")
            return [returned(job) for job in jobs]
        stop = self.run(JobList(jobs, screen), slots, screen)
        screen.table()
        exit_if_stopped(stop, screen)
        screen.say(report(sweep, jobs))
        return [returned(job) for job in jobs]

    def run(self, source: "AbstractSource", slots: Slots, screen: "Screen") -> Stop | None:
        """Runs the jobs of a source to their ends; returns what ended it early."""
        from metalearn.sweep.loop import Loop

        try:
            return Loop(
                source,
                slots=slots,
                start=partial(self.start, slots),
                processes=self.processes,
                screen=screen,
                timeout=self.timeout,
                retries=self.retries,
                is_cancelled=self._is_cancelled,
            ).run()
        except OSError as error:
            if error.errno is None:  # a message to the user, not a fault of the machine
                raise
            error.filename = error.filename or str(self.config.hydra.sweep.dir)
            for job in screen.jobs:
                if job.status == "running" and not job.reason:  # this process has stopped it
                    job.status = "interrupted"
            return error

    def prepare(self) -> tuple[Path, Slots]:
        """Makes the directory of the sweep, and the slots. Raises ValueError for bad input."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        check_settings(self, self.config, "hydra.launcher")
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"hydra.launcher.timeout={self.timeout} must be a positive number of seconds, or null")
        if self.retries < 0:
            raise ValueError(f"hydra.launcher.retries={self.retries} must be 0 or a positive number")
        if self.leave is not None:
            for name, value in (("retries", self.retries or None), ("timeout", self.timeout)):
                if value is not None:
                    raise ValueError(f"hydra.launcher.{name}={value} needs a command that waits: leave out wait=false")
        sweep = Path(str(self.config.hydra.sweep.dir)).absolute()
        slots = self.make_slots(sweep)
        sweep.mkdir(parents=True, exist_ok=True)
        self._presence, self._is_cancelled = attend(sweep), watch_cancel(sweep)
        return sweep, slots

    def _job(self, sweep: Path, number: int, overrides: list[str], recorded: dict[tuple[str, ...], list[Path]]) -> Job:
        """Returns a job with its folder; a finished job keeps the folder recorded for it.

        Composing takes as long as skipping 20 jobs, so it composes only where a name depends on the
        config.
        """
        pattern = OmegaConf.to_container(self.config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[index,call-overload]
        if pattern in NUMBERED:
            return Job(number, overrides, sweep / str(number))
        folders = recorded.get(tuple(overrides), [])
        while folders:  # several where the overrides stand twice in the sweep
            job = Job(number, overrides, folders.pop(0))
            if job.was_finished():
                return job
        return Job(number, overrides, sweep / str(self.compose(number, overrides).hydra.sweep.subdir))

    def compose(self, number: int, overrides: list[str]) -> DictConfig:
        """Returns the config of a job without settings of the sweeper, whose preset it may lack."""
        of_hydra = [arg for arg in self._typed_for_hydra() if not key(arg).startswith(OF_THE_SWEEPER)]
        config = self.context.config_loader.load_configuration(
            config_name=self.config.hydra.job.config_name, overrides=[*of_hydra, *overrides], run_mode=RunMode.RUN
        )
        OmegaConf.copy_cache(from_config=self.config, to_config=config)  # the times in it
        config.hydra.job.num, config.hydra.job.id = number, str(number)
        HydraConfig.instance().set_config(config)  # ${hydra:KEY} reads it
        return config

    def trainer(self, job: Job) -> DictConfig:
        """Returns the config of a job's trainer, which states its number of processes.

        It takes 0.1 s to compose, once for all jobs that differ in values alone, such as seeds.
        """
        exact = tuple(job.overrides)
        alike = tuple(arg if self._chooses(key(arg)) else arg.partition("=")[0] for arg in job.overrides)
        if (composed := self._trainers.get(exact, self._trainers.get(alike))) is not None:
            return composed
        config = self.compose(job.number, job.overrides)
        typed = {key(arg) for arg in self._typed_for_hydra()}
        dropped.check(config, self.config, partial(self.compose, 0, []), typed=typed)
        trainer: DictConfig = config.trainer
        by_value = any(OmegaConf.is_interpolation(trainer, name) for name in ("devices", "num_nodes", "accelerator"))
        self._trainers[exact if by_value else alike] = trainer
        return trainer

    def _chooses(self, name: str) -> bool:
        """Returns whether a key may change the shape of a config, as groups and trainer.* may."""
        return name.startswith(("trainer", "hydra")) or self.is_group(name)

    def processes(self, job: Job) -> int | None:
        """Returns the number per node for a job, more than one under DDP; None for all places."""
        devices = str(self.trainer(job).devices)
        return int(devices) if devices.isdigit() else None

    def arguments(self, job: Job) -> list[str]:
        """Returns the command line for this job alone."""
        own = [f"hydra.run.dir={quoted(job.folder)}", "hydra.mode=RUN", f"hydra.job.num={job.number}"]
        main = ["--config-name", str(self.config.hydra.job.config_name), *self._sources("--config-path", "main")]
        return [*main, *self.needed(), *job.overrides, *own, f"hydra.job.id={job.number}"]

    def needed(self) -> list[str]:
        """Returns the arguments of any run beside its overrides: --config-dir, Hydra's settings."""
        of_hydra = [arg for arg in self._typed_for_hydra() if not key(arg).startswith(OF_THE_SWEEP)]
        return [*self._sources("--config-dir", "command-line"), *of_hydra]

    def _typed_for_hydra(self) -> list[str]:
        """Returns overrides of Hydra's settings, unresolved: each job has values of its own."""
        return OmegaConf.to_container(self.config.hydra.overrides.hydra, resolve=False)  # type: ignore[return-value]

    def _sources(self, flag: str, provider: str) -> list[str]:
        sources = self.config.hydra.runtime.config_sources
        return [part for source in sources if source.provider == provider for part in (flag, source.path)]


def _is_group(loader: ConfigLoader, name: str) -> bool:
    """Returns whether a key names a group of the config, with or without a package."""
    return "@" in name or bool(loader.get_group_options(name))


def submit(jobs: Sequence[Job], leave: Callable[[Sequence[Job]], None]) -> str:
    """Leaves the unfinished jobs to the cluster; returns a line that counts them."""
    free = [job for job in jobs if not job.finished and not job.is_at_work_elsewhere()]
    begun = [(job, held) for job in free if (held := job.begin()) is not None]
    try:
        leave([job for job, _ in begun])
    finally:
        for job, held in begun:
            job.status = "pending"
            held.close()
    at_work = sum(not job.finished for job in jobs) - len(begun)
    return f"{number_of(len(begun), 'job')} submitted" + (f", {at_work} at work before" if at_work else "")


def exit_if_stopped(stop: Stop | None, screen: "Screen") -> None:
    """Raises SystemExit after a signal, JobFailed after an error such as a full disk."""
    if isinstance(stop, OSError):
        raise JobFailed(f"{stop.strerror}: {stop.filename}; remove the cause, then repeat the command to continue")
    if stop is not None:
        screen.say("stopped; repeat the command to continue")
        raise SystemExit(128 + stop)
