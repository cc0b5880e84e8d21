"""sweep.json: what a sweep consists of, so that the same command goes on with it and another one does not mix in."""

import fcntl
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from metalearn.files import write_atomically
from metalearn.run.overrides import key, value
from metalearn.sweep.jobs import Job, quoted

log = logging.getLogger(__name__)

NAME = "sweep.json"


class Known(TypedDict):
    """What the file says."""

    command: list[str]  # what of it says which jobs there are
    jobs: dict[str, list[str]]  # overrides by directory; none of a search


def going_on(argv: list[str]) -> list[str]:
    """The command line of a sweep without a name, with that of the newest unfinished one of the same command."""
    keys = [key(arg) for arg in argv]
    if not {"-m", "--multirun"} & set(argv) or "hydra.sweep.dir" in keys or {"--cfg", "-c"} & set(keys):
        return argv
    outputs = next((value(arg) for arg in reversed(argv) if key(arg) == "paths.outputs"), "outputs")
    files = sorted(Path(outputs).glob(f"sweeps/*/{NAME}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files:
        try:
            known = _read(path)
            is_search = not known["jobs"]  # which its study knows
            if known["command"] == command(argv) and (is_search or not _is_finished(path.parent, known["jobs"])):
                return [*argv, f"hydra.sweep.dir={quoted(path.parent)}"]
        except ValueError as error:
            log.warning("metalearn: %s; it is passed over", error)
    return argv


def command(argv: Sequence[str]) -> list[str]:
    """What of a command line says which jobs there are, in whatever order its flags stand."""
    told = ("hydra/sweeper", "hydra.sweeper.params", "hydra.searchpath")
    return sorted(
        arg
        for arg in argv
        if arg not in ("-m", "--multirun") and (not key(arg).startswith("hydra") or key(arg).startswith(told))
    )


def record(sweep: Path, jobs: Sequence[Job], argv: Sequence[str]) -> None:
    """Write the jobs down, none for a search. Raises ValueError when the sweep has others under the same names."""
    path = sweep / NAME
    with (sweep / ".lock").open("a") as file:  # several searches may add to one sweep
        fcntl.flock(file, fcntl.LOCK_EX)
        known: Known = _read(path) if path.is_file() else {"command": command(argv), "jobs": {}}
        if path.is_file() and bool(known["jobs"]) != bool(jobs):
            what = "a sweep" if known["jobs"] else "a search"
            raise ValueError(f"{sweep} holds {what}: give this one a name of its own with hydra.sweep.dir=DIR")
        for job in jobs:
            name = str(job.folder.relative_to(sweep))
            before = known["jobs"].get(name)
            if before is not None and set(before) != set(job.overrides):
                was, now = sorted(set(before) - set(job.overrides)), sorted(set(job.overrides) - set(before))
                raise ValueError(
                    f"{sweep} is another sweep: its job {name} has {' '.join(was) or 'nothing'} where this command has "
                    f"{' '.join(now) or 'nothing'}; give this one a name of its own with hydra.sweep.dir=DIR"
                )
            if before is None and (job.folder / "result.json").exists():
                raise ValueError(f"{job.folder} holds another run: name another directory with hydra.sweep.dir=DIR")
            known["jobs"][name] = job.overrides
        text = json.dumps(known, indent=1) + "\n"
        write_atomically(path, lambda file: file.write(text.encode()))


def folders(sweep: Path) -> dict[tuple[str, ...], list[Path]]:
    """The folders that are recorded so far, by the overrides of their jobs."""
    recorded: dict[tuple[str, ...], list[Path]] = {}
    path = sweep / NAME
    for name, overrides in (_read(path)["jobs"] if path.is_file() else {}).items():
        recorded.setdefault(tuple(overrides), []).append(sweep / name)
    return recorded


def _is_finished(sweep: Path, jobs: dict[str, list[str]]) -> bool:
    results = (Job(0, overrides, sweep / name).result() for name, overrides in jobs.items())
    return all(result is not None and result.finished for result in results)


def _read(path: Path) -> Known:
    from typeguard import TypeCheckError, check_type  # late, because --help must not wait for it

    try:
        return check_type(json.loads(path.read_text()), Known)
    except (ValueError, TypeCheckError) as error:
        raise ValueError(f"{path} is not the list of jobs of a sweep: {error}") from error
