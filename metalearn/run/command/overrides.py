"""Command lines that continue an earlier run: its overrides come first, and typed ones win.

So `resume=DIR`, `mode=test checkpoint=PATH` and `mode=test pretrained=PATH` repeat no override.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException

from metalearn.formats import first_line
from metalearn.run.command.command_line import is_multirun, parse, refuse_secrets
from metalearn.run.command.composed import outputs
from metalearn.run.command.earlier_run import EarlierRun
from metalearn.run.command.grammar import is_path, parsed, quoted, readable, value, values
from metalearn.run.command.inherited import checked
from metalearn.run.directory.checkpoint_file import best_of, read_origin
from metalearn.run.directory.claim import LOCK, is_locked
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.keys import MACHINE, OF_THE_TRAINING, is_below, key, node

OF_THIS_COMMAND = {"mode", "checkpoint", "resume"}
"""Keys that choose the action of this command, and do not define the run."""

OF_THE_CLASSES = ("evaluation.fold", "evaluation.folds", "dataset.fold")
"""Settings that choose the classes of meta-test, which a test of other weights must not change.

Others are classes of the training, or those on which its checkpoint was chosen.
"""

OF_THE_BEGINNING = ("seed", "pretrained", "experiment")
"""Settings by which a training began, so that a resumption cannot change them."""

SPLIT = "classes.csv"
"""File in a run directory with the drawn split (conf/dataset/folder.yaml); a test must reuse it."""


def classes_file(part: str) -> str:
    """Returns the name of the split's file, such as test_classes.csv for the part test_dataset."""
    return part.removesuffix("dataset") + SPLIT


def expand(argv: list[str]) -> list[str]:
    """Returns the command line, flags first, with the overrides of a run that it resumes or tests.

    Raises ValueError or OSError in one line if the run is missing, or if a value is a secret.
    """
    flags, typed = parse(argv)
    given = values(typed)
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
    refuse_secrets(typed)
    return [*flags, *typed]


def with_absolute_paths(overrides: list[str], cwd: Path) -> list[str]:
    """Returns the overrides with absolute paths, so that they hold in any folder."""
    return _with_paths(overrides, lambda path: quoted(cwd / path))


def with_relative_paths(overrides: list[str], cwd: Path) -> list[str]:
    """Returns the overrides with the paths of a folder relative to it, as most people type them."""

    def shortened(path: Path) -> str:
        text = str(path.relative_to(cwd) if path.is_relative_to(cwd) else path)
        return text if readable(f"x.path={text}", multirun=False) == f"x.path={text}" else quoted(text)

    return _with_paths(overrides, shortened)


def _with_paths(overrides: list[str], written: Callable[[Path], str]) -> list[str]:
    """Returns the overrides with each path as `written` gives it."""
    return [o if (path := _path(o)) is None else f"{o.partition('=')[0]}={written(path)}" for o in overrides]


def _path(override: str) -> Path | None:
    """Returns the path that an override sets, if it is one of this machine and defines the run."""
    if override.startswith("~") or key(override) in OF_THIS_COMMAND or not is_path(node(override)):
        return None
    path = value(override)
    return Path(path) if path and isinstance(path, str) and "${" not in path and "://" not in path else None


def newest_unfinished(folders: Iterable[Path], typed: list[str]) -> Path | None:
    """Returns the latest incomplete run of equal overrides that has a checkpoint."""
    wanted = _definition(typed, Path.cwd())
    begun = [folder for folder in map(RunFolder, folders) if folder.holds_checkpoint]
    for folder in sorted(begun, key=lambda folder: folder.last.parent.stat().st_mtime, reverse=True):
        try:
            if _is_unfinished(folder, wanted):
                return folder.path
        except (ValueError, OSError, TypeError, KeyError, AttributeError, yaml.YAMLError, HydraException) as error:
            why = first_line(error)
            print(f"metalearn: skipping {folder.path}, since its records are damaged: {why}", file=sys.stderr)
    return None


def _is_unfinished(folder: RunFolder, wanted: set[str]) -> bool:
    if not folder.overrides.is_file():
        return False
    begun = folder.typed()
    cwd = EarlierRun(folder).cwd if any(is_path(node(override)) for override in begun) else Path.cwd()
    # A run that holds its lock is at work.
    return _definition(begun, cwd) == wanted and not is_locked(folder.path / LOCK) and not folder.is_finished()


def _resumed(path: Path, typed: list[str]) -> list[str]:
    folder, keys, named = RunFolder(path), set(map(key, typed)), values(typed).get("hydra.run.dir")
    origin = read_origin(folder.last) if folder.last.is_file() else None
    run = EarlierRun(folder, origin)
    if origin is not None:
        kept = checked(origin.overrides, folder.last, keys)
    elif folder.overrides.is_file():  # a run that stopped before its first checkpoint begins anew
        kept = checked(with_absolute_paths(folder.typed(), run.cwd), folder.overrides, keys)
        if folder.is_finished() or any(key(o) == "mode" and value(o) == "test" for o in kept):
            remedy = "repeat its command in another directory"
            raise ValueError(f"cannot resume {path}: it has no training that could continue; {remedy}")
    else:
        raise FileNotFoundError(f"cannot resume {path}: no run has begun there")
    if origin is not None:
        _refuse_others(OF_THE_BEGINNING, run, kept, typed)
    _refuse_another_draw(run, _with_splits(folder, kept), typed)
    typed = [*_without("resume", typed), f"resume={quoted(path)}"]
    if named is None:
        typed.append(f"hydra.run.dir={quoted(path)}")
    elif Path(str(named)).resolve() != path.resolve():
        raise ValueError(f"resume={path} continues in that directory: leave hydra.run.dir={named} out")
    return _inherit(kept, typed, run.choices, resumes=True)


def _tested(name: str, path: Path, typed: list[str]) -> list[str]:
    """Returns the overrides of the run at `path`, then the typed ones.

    Args:
        name: "checkpoint" to test the whole run, "pretrained" for its backbone with another head.
        path: checkpoint or run directory.
        typed: overrides of the command.
    """
    path = best_of(path)
    origin, given = read_origin(path), values(typed)
    run = EarlierRun(RunFolder(path.resolve().parent.parent), origin)
    kept = checked(origin.overrides, path, set(map(key, typed)))
    kept = [override for override in kept if node(override).partition(".")[0] != "logger"]
    fixed = ["seed"]  # it deals the folds
    if name == "checkpoint":  # the result would name them, and a report would count another training
        fixed += ["experiment", "tasks_per_batch", *OF_THE_TRAINING]
    dataset, root = given.get("dataset"), given.get("dataset.root")
    if dataset in (None, run.choices.get("dataset")) and not run.has_other_images_than(root, "dataset"):
        fixed += OF_THE_CLASSES
    _refuse_others(fixed, run, kept, typed)
    if dataset and not any(is_below(of_typed, ["test_dataset"]) for of_typed in map(node, typed)):
        kept = [override for override in kept if not is_below(node(override), ["test_dataset"])]
        if run.choices.get("dataset@test_dataset"):  # an experiment may have chosen it
            typed = [*typed, "~dataset@test_dataset"]
    if path.resolve().parent == run.folder.best.parent:  # else a file of classes beside it is of something else
        kept = _with_splits(run.folder, kept)
    for part in ("dataset", "test_dataset"):
        if run.has_other_images_than(given.get(f"{part}.root"), part):
            kept = _without(f"{part}.manifest", kept)
    _refuse_another_draw(run, kept, typed)
    return _inherit(kept, [*_without(name, typed), f"{name}={quoted(path)}"], run.choices, resumes=False)


def _refuse_others(fixed: Collection[str], run: EarlierRun, kept: list[str], typed: list[str]) -> None:
    """Raises ValueError if a typed override gives a fixed setting another value than the run's."""
    for override in typed:
        for name, given in values([override]).items():
            if not is_below(name, fixed):
                continue
            trained = run.setting(name, given, kept)
            if given != trained and not (is_path(name) and _may_be_equal(given, trained)):
                remedy = "leave it out" if name != "experiment" else "type its settings instead"
                own = f"{name}={'null' if trained is None else trained}"
                raise ValueError(f"{override} is refused, since the weights are of {own}: {remedy}")


def _refuse_another_draw(run: EarlierRun, kept: list[str], typed: list[str]) -> None:
    """Raises ValueError for another draw of classes where the run's split is taken."""
    given, inherited = values(typed), values(kept)
    for part, group in (("dataset", "dataset"), ("test_dataset", "dataset@test_dataset")):
        is_taken = f"{part}.manifest" in inherited and f"{part}.manifest" not in given
        if is_taken and given.get(part) in (None, run.choices.get(group)):
            _refuse_others([f"{part}.split", f"{part}.split_seed"], run, kept, typed)


def _with_splits(folder: RunFolder, kept: list[str]) -> list[str]:
    """Returns the overrides of a run with its files of classes, unless it names others."""
    for part in ("dataset", "test_dataset"):
        split = folder.path / classes_file(part)
        if split.is_file() and f"{part}.manifest" not in map(key, kept):
            kept = [*kept, f"{part}.manifest={quoted(split)}"]
    return kept


def _may_be_equal(given: Any, trained: Any) -> bool:
    """Whether two paths are one, or the second has been moved since the run."""
    if not (isinstance(given, str) and isinstance(trained, str)):
        return False
    return Path(given).expanduser().resolve() == Path(trained).resolve() or not Path(trained).exists()


def _inherit(kept: list[str], typed: list[str], choices: Mapping[str, Any], *, resumes: bool) -> list[str]:
    """Returns earlier overrides that stay, then the typed ones."""
    # A dictionary replaces nothing, since Hydra merges it, unless a + makes it a new part.
    whole = [o for o in typed if parsed(o).is_add() or not isinstance(value(o), dict)]
    again = {*map(node, whole), *OF_THIS_COMMAND}
    # A replaced part drops its arguments: those of maml have no meaning for another algorithm.
    new = (o for o in whole if o not in kept)
    replaced = {node(o) for o in new if choices.get(key(o), object()) != value(o)}
    if resumes and "trainer" in replaced:  # on another machine, the training continues as it began
        replaced = replaced - {"trainer"} | MACHINE
    stay = (o for o in kept if o not in typed and node(o) not in again and not is_below(node(o), replaced))
    return [*stay, *typed]


def _without(name: str, overrides: list[str]) -> list[str]:
    return [override for override in overrides if key(override) != name]


def _definition(overrides: list[str], cwd: Path) -> set[str]:
    own = [o for o in overrides if key(o) not in OF_THIS_COMMAND and not key(o).startswith("hydra")]
    return {*with_absolute_paths(own, cwd)}
