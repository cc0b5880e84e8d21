"""sweep.json: the jobs of a sweep, so that its command continues it and no other mixes in."""

import json
import logging
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from metalearn.files import one_at_a_time, write_text
from metalearn.run.command.command_line import parse
from metalearn.run.command.composed import outputs
from metalearn.run.command.grammar import is_sweep, quoted, value
from metalearn.run.command.overrides import with_absolute_paths
from metalearn.run.directory.claim import LOCK
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.keys import key, node
from metalearn.run.directory.sweep_record import NAME, SweepRecord, read
from metalearn.sweep.jobs import Job

log = logging.getLogger(__name__)


def in_jobs(argv: list[str]) -> list[str]:
    """Writes algorithm.KEY=choice(VALUE) for algorithm.KEY=VALUE where the sweep varies algorithm.

    Hydra composes the sweep itself with the default part, which may not know the key.

    >>> in_jobs(["-m", "algorithm=maml,fomaml", "algorithm.inner_lr=0.1", "seed=1"])
    ['--multirun', 'algorithm=maml,fomaml', 'algorithm.inner_lr=choice(0.1)', 'seed=1']
    """
    flags, typed = parse(argv)
    is_search = any(key(override).startswith(("hydra/sweeper", "hparams_search")) for override in typed)
    if "--multirun" not in flags or is_search:
        return argv
    chosen = {node(override) for override in typed if is_sweep(override)}

    def of_jobs(override: str) -> str:
        part, _, argument = node(override).partition(".")
        if not argument or part not in chosen or override.startswith("~") or is_sweep(override):
            return override
        name, _, text = override.partition("=")
        if value(override) is None:  # choice() takes none; a job without the key refuses it
            return f"++{name.lstrip('+')}=null"
        return f"{name}=choice({text or repr('')})"

    return [*flags, *map(of_jobs, typed)]


def continued(argv: list[str]) -> list[str]:
    """Adds the name of the newest unfinished sweep of the same command to a command without one.

    The flags are long, as `parse` returns them.
    """
    if "--multirun" not in argv or "--cfg" in argv or "hydra.sweep.dir" in map(key, argv):
        return argv
    files = outputs(argv).glob(f"sweeps/*/{NAME}")
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            sweep = read(path.parent)
            is_search = not sweep.jobs  # its study knows whether it is finished
            unfinished = is_search or not all(RunFolder(path.parent / name).is_finished() for name in sweep.jobs)
            is_same = sweep.command == command(argv) and _places(argv, sweep.cwd) == _places(argv, os.getcwd())
            if is_same and unfinished:
                return [*argv, f"hydra.sweep.dir={quoted(path.parent)}"]
        except ValueError as error:
            log.warning("metalearn: %s; it is passed over", error)
    return argv


def _places(argv: list[str], cwd: str) -> list[str]:
    """Returns the overrides with absolute paths, and the folder if a folder of configs is relative.

    A folder that was moved counts as the present one.
    """
    folder = Path(cwd) if Path(cwd).is_dir() else Path.cwd()
    configs = [place for flag, place in pairwise(argv) if flag in ("--config-dir", "--config-path")]
    configs += [word for word in argv if word.startswith("hydra.searchpath")]
    overrides = with_absolute_paths([word for word in command(argv) if "=" in word], folder)
    return [*overrides, *(str(folder) for word in configs if _is_relative(word))]


def _is_relative(word: str) -> bool:
    """Whether a folder of configs, or one of a search path, depends on the working directory.

    >>> [_is_relative(f"hydra.searchpath=[{place}]") for place in ("conf", "file:///conf", "pkg://own.conf")]
    [True, False, False]
    """
    places = re.split(r"[\[\],]", word.partition("=")[2] or word)
    places = [place.strip("'\" ").removeprefix("file://") for place in places]
    return any(place and not place.startswith(("/", "pkg://")) for place in places)


def command(argv: Sequence[str]) -> list[str]:
    """Returns the part of a command line that defines the jobs, in one order."""
    defining = ("hydra/sweeper", "hydra.sweeper.params", "hydra.searchpath")
    return sorted(
        arg
        for arg in argv
        if arg != "--multirun" and (not key(arg).startswith("hydra") or key(arg).startswith(defining))
    )


def record(sweep: Path, jobs: Sequence[Job], argv: Sequence[str]) -> None:
    """Records the jobs, none for a search.

    Raises ValueError when the sweep has other jobs under the same names, or two under one.
    """
    _check_folders(jobs)
    path = sweep / NAME
    with one_at_a_time(sweep / LOCK):  # several searches may add to one sweep
        typed, cwd = list(argv), os.getcwd()
        found = read(sweep) if path.is_file() else SweepRecord(command(argv), typed, cwd, {})
        if path.is_file() and bool(found.jobs) != bool(jobs):
            kind = "a sweep" if found.jobs else "a search"
            raise ValueError(f"{sweep} holds {kind}: name this one with hydra.sweep.dir=DIR")
        for job in jobs:
            _add(found.jobs, job, sweep)
        write_text(path, json.dumps(found._replace(typed=typed, cwd=cwd)._asdict(), indent=1) + "\n")


def folders(sweep: Path) -> dict[tuple[str, ...], list[Path]]:
    """Returns the recorded folders by the overrides of their jobs."""
    recorded: dict[tuple[str, ...], list[Path]] = {}
    jobs = read(sweep).jobs if (sweep / NAME).is_file() else {}
    for name, overrides in jobs.items():
        recorded.setdefault(tuple(overrides), []).append(sweep / name)
    return recorded


def _check_folders(jobs: Sequence[Job]) -> None:
    """Raises ValueError when two different jobs have one directory."""
    owners: dict[Path, Job] = {}
    for job in jobs:
        owner = owners.setdefault(job.folder, job)
        if set(owner.overrides) != set(job.overrides):
            raise ValueError(
                f"jobs {owner.number} and {job.number} would both run in {job.folder}: "
                "let hydra.sweep.subdir differ, as ${hydra.job.num} does"
            )


def _add(jobs: dict[str, list[str]], job: Job, sweep: Path) -> None:
    name = str(job.folder.relative_to(sweep))
    before = jobs.get(name)
    if before is not None and set(before) != set(job.overrides):
        was = " ".join(sorted(set(before) - set(job.overrides))) or "nothing"
        now = " ".join(sorted(set(job.overrides) - set(before))) or "nothing"
        raise ValueError(
            f"{sweep} is another sweep: its job {name} has {was} where this command has {now}; "
            "name this one with hydra.sweep.dir=DIR"
        )
    run = RunFolder(job.folder)
    if before is None and (run.result.exists() or run.holds_run):
        raise ValueError(f"{job.folder} holds another run: name another directory with hydra.sweep.dir=DIR")
    jobs[name] = job.overrides
