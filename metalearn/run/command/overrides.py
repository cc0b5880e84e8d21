"""Command lines that continue an earlier run: its overrides come first, and typed ones win.

So `resume=DIR`, `mode=test checkpoint=PATH` and `mode=test pretrained=PATH` repeat no override.
"""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException

from metalearn.formats import first_line
from metalearn.run.command.command_line import is_multirun, parse
from metalearn.run.command.composed import outputs
from metalearn.run.command.earlier_run import EarlierRun
from metalearn.run.command.grammar import is_path, quoted, readable, value
from metalearn.run.command.inherited import checked, checkpoint_overrides
from metalearn.run.directory.checkpoint_file import best_of
from metalearn.run.directory.claim import LOCK, is_locked
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.keys import OF_THE_TRAINING, is_below, key, node

OF_THIS_COMMAND = {"mode", "checkpoint", "resume"}
"""Keys that choose the action of this command, and do not define the run."""

OF_THE_CLASSES = ("evaluation.fold", "evaluation.folds", "dataset.fold")
"""Settings that choose the classes of meta-test, which a test of other weights must not change.

Others are classes of the training, or those on which its checkpoint was chosen.
"""

SPLIT = "classes.csv"
"""File in a run directory with the drawn split (conf/dataset/folder.yaml); a test must reuse it."""


def classes_file(part: str) -> str:
    """Returns the name of the split's file, such as test_classes.csv for the part test_dataset."""
    return part.removesuffix("dataset") + SPLIT


def expand(argv: list[str]) -> list[str]:
    """Returns the command line, flags first, with the overrides of a run that it resumes or tests.

    Raises ValueError or OSError in one line if the run is missing.
    """
    flags, typed = parse(argv)
    given = {key(override): value(override) for override in typed if "=" in override}
    resume, checkpoint = given.get("resume"), given.get("checkpoint")
    if resume and is_multirun(flags, typed):
        raise ValueError(f"resume={resume} continues one run; to continue a sweep, repeat its command")
    if resume == "auto":
        named = given.get("hydra.run.dir")
        if "${" in str(named):
            raise ValueError(f"resume=auto needs a directory that is written out, not hydra.run.dir={named}")
        folders = [Path(str(named))] if named else outputs([*flags, *typed]).glob("*/*")
        folder = newest_unfinished(folders, typed)
        typed = _resumed(folder, typed) if folder else [*_without("resume", typed), "resume=null"]
    elif resume and isinstance(resume, str):
        typed = _resumed(Path(resume), typed)
    elif given.get("mode") == "test":
        pretrained = given.get("pretrained")
        if checkpoint and isinstance(checkpoint, str):
            typed = _tested("checkpoint", Path(checkpoint), typed)
        elif pretrained and isinstance(pretrained, str):
            typed = _tested("pretrained", Path(pretrained), typed)
    return [*flags, *typed]


def with_absolute_paths(overrides: list[str], cwd: Path) -> list[str]:
    """Returns the overrides with absolute paths, so that they hold in any folder."""
    return [
        override if (path := _path(override)) is None else _set(override, quoted(cwd / path)) for override in overrides
    ]


def with_relative_paths(overrides: list[str], cwd: Path) -> list[str]:
    """Returns the overrides with the paths of a folder relative to it, as most people type them."""

    def shortened(override: str, path: Path) -> str:
        text = str(path.relative_to(cwd) if path.is_relative_to(cwd) else path)
        return _set(override, text if readable(f"x.path={text}", multirun=False) == f"x.path={text}" else quoted(text))

    return [override if (path := _path(override)) is None else shortened(override, path) for override in overrides]


def _path(override: str) -> Path | None:
    """Returns the path that an override sets, if it is one of this machine and defines the run."""
    if override.startswith("~") or key(override) in OF_THIS_COMMAND or not is_path(node(override)):
        return None
    path = value(override)
    return Path(path) if path and isinstance(path, str) and "${" not in path and "://" not in path else None


def _set(override: str, text: str) -> str:
    return f"{override.partition('=')[0]}={text}"


def newest_unfinished(folders: Iterable[Path], typed: list[str]) -> Path | None:
    """Returns the latest incomplete run of equal overrides that has a checkpoint."""
    wanted = _definition(typed, Path.cwd())
    begun = [folder for folder in folders if RunFolder(folder).last.is_file()]
    for folder in sorted(begun, key=lambda folder: RunFolder(folder).last.stat().st_mtime, reverse=True):
        try:
            if _is_unfinished(folder, wanted):
                return folder
        except (ValueError, OSError, TypeError, KeyError, AttributeError, yaml.YAMLError, HydraException) as error:
            why = first_line(error)
            print(f"metalearn: skipping {folder}, since its records are damaged: {why}", file=sys.stderr)
    return None


def _is_unfinished(folder: Path, wanted: set[str]) -> bool:
    if not RunFolder(folder).overrides.is_file():
        return False
    begun = RunFolder(folder).typed()
    cwd = EarlierRun(folder).cwd if any(is_path(node(override)) for override in begun) else Path.cwd()
    if _definition(begun, cwd) != wanted:
        return False
    if is_locked(folder / LOCK):  # a run works there
        return False
    return not RunFolder(folder).is_finished()


def _resumed(folder: Path, typed: list[str]) -> list[str]:
    run, last, begun = EarlierRun(folder), RunFolder(folder).last, RunFolder(folder).overrides
    if last.is_file():
        kept = checkpoint_overrides(last, set(map(key, typed)))
    elif begun.is_file():  # a run that stopped before its first checkpoint begins anew
        kept = checked(with_absolute_paths(RunFolder(folder).typed(), run.cwd), begun, set(map(key, typed)))
    else:
        raise FileNotFoundError(f"cannot resume {folder}: no run has begun there")
    typed = [*_without("resume", typed), f"resume={quoted(folder)}"]
    named = next((value(override) for override in typed if key(override) == "hydra.run.dir"), None)
    if named is None:
        typed.append(f"hydra.run.dir={quoted(folder)}")
    elif Path(str(named)).resolve() != folder.resolve():
        raise ValueError(f"resume={folder} continues in that directory: leave hydra.run.dir={named} out")
    return _inherit(kept, typed, run.choices)


def _tested(name: str, path: Path, typed: list[str]) -> list[str]:
    """Returns the overrides of the run at `path`, then the typed ones.

    Args:
        name: "checkpoint" to test the whole run, "pretrained" for its backbone with another head.
        path: checkpoint or run directory.
        typed: overrides of the command.
    """
    path = best_of(path)
    run = EarlierRun(path.resolve().parent.parent)
    kept = [o for o in checkpoint_overrides(path, set(map(key, typed))) if node(o).partition(".")[0] != "logger"]
    fixed = ["seed"]  # it deals the folds
    if name == "checkpoint":  # the result would name them, and a report would count another training
        fixed += ["experiment", "tasks_per_batch", *OF_THE_TRAINING]
    dataset = next((value(o) for o in typed if node(o) == "dataset"), None)
    if dataset in (None, run.choices.get("dataset")) and not run.has_other_images_than(
        _root(typed, "dataset"), "dataset"
    ):
        fixed += OF_THE_CLASSES
    _refuse_others(fixed, run, kept, typed)
    if dataset and not any(is_below(of_typed, ["test_dataset"]) for of_typed in map(node, typed)):
        kept = [override for override in kept if not is_below(node(override), ["test_dataset"])]
        if run.choices.get("dataset@test_dataset"):  # an experiment may have chosen it
            typed = [*typed, "~dataset@test_dataset"]
    for part in ("dataset", "test_dataset"):
        if run.has_other_images_than(_root(typed, part), part):
            kept = _without(f"{part}.manifest", kept)
        elif (split := run.folder / classes_file(part)).is_file() and f"{part}.manifest" not in map(key, kept):
            kept.append(f"{part}.manifest={quoted(split)}")
    return _inherit(kept, [*_without(name, typed), f"{name}={quoted(path)}"], run.choices)


def _refuse_others(fixed: list[str], run: EarlierRun, kept: list[str], typed: list[str]) -> None:
    """Raises ValueError if a typed override gives a fixed setting another value than the run's."""
    for override in typed:
        name = node(override)
        if "=" in override and is_below(name, fixed):
            trained = run.setting(override, kept)
            if value(override) != trained:
                remedy = "leave it out" if name != "experiment" else "type the settings of the test instead"
                raise ValueError(f"{override} is refused, since the weights are of {name}={trained}: {remedy}")


def _root(typed: list[str], part: str) -> Any:
    """Returns the folder of a data set that the command names, if it does."""
    return next((value(override) for override in typed if key(override) == f"{part}.root"), None)


def _inherit(kept: list[str], typed: list[str], choices: Mapping[str, Any]) -> list[str]:
    """Returns earlier overrides that stay, then the typed ones."""
    again = {*map(node, typed), *OF_THIS_COMMAND}
    # A replaced part drops its arguments: those of maml have no meaning for another algorithm.
    replaced = {node(o) for o in typed if o not in kept and choices.get(key(o), object()) != _option(o)}
    return [*(o for o in kept if node(o) not in again and not is_below(node(o), replaced)), *typed]


def _option(override: str) -> Any:
    return value(override) if "=" in override else None


def _without(name: str, overrides: list[str]) -> list[str]:
    return [override for override in overrides if key(override) != name]


def _definition(overrides: list[str], cwd: Path) -> set[str]:
    own = [o for o in overrides if key(o) not in OF_THIS_COMMAND and not key(o).startswith("hydra")]
    return {*with_absolute_paths(own, cwd)}
