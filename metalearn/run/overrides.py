"""Command lines that go on from an earlier run: its own overrides come first, what is typed now wins.

So `resume=DIR` and `mode=test checkpoint=PATH` need nothing repeated.
"""

import json
from pathlib import Path

import yaml

from metalearn.run.claim import is_claimed

NOW = {"mode", "checkpoint", "resume"}
"""Keys that say what to do now, not what the run is."""

PLACES = {"dataset.root", "dataset.manifest"}
"""Keys that are paths, beside those of the group paths."""

SPLIT = "classes.csv"
"""In a run directory: the split that was drawn for it (conf/dataset/folder.yaml). A test must not draw another one."""


def classes_file(part: str) -> str:
    """The name of that file: test_classes.csv for the part test_dataset, so that two folders keep two splits."""
    return part.removesuffix("dataset") + SPLIT


def expand(argv: list[str]) -> list[str]:
    """The command line with the overrides of the run that it resumes or tests, if it does.

    Raises ValueError or OSError, in one line, when there is no such run.
    """
    # Hydra's way of saying: an option of the group dataset, as the part test_dataset.
    argv = [f"dataset@{arg}" if arg.startswith("test_dataset=") else arg for arg in argv]
    given = {key(arg): value(arg) for arg in argv if "=" in arg and not arg.startswith("-")}
    resume = given.get("resume", "null")
    if resume == "auto":
        folder = newest_unfinished(Path(given.get("paths.outputs", "outputs")), argv)
        return _resumed(folder, argv) if folder else [*_without("resume", argv), "resume=null"]
    if resume not in ("null", ""):
        return _resumed(Path(resume), argv)
    if given.get("mode") == "test" and "checkpoint" in given:
        path = Path(given["checkpoint"])
        typed = [*_without("checkpoint", argv), f"checkpoint='{path}'"]  # a path may hold what means something to Hydra
        kept = [o for o in checkpoint_overrides(path) if key(o).partition(".")[0] != "logger"]
        if (split := path.parents[1] / SPLIT).is_file() and "dataset.manifest" not in map(key, kept):
            kept.append(f"dataset.manifest='{split}'")
        return _inherit(kept, typed)
    return argv


def anywhere(overrides: list[str], cwd: Path) -> list[str]:
    """The same overrides with paths that hold wherever they are used again."""
    return [
        f"{key(o)}='{cwd / value(o)}'"
        if (key(o).startswith("paths.") or key(o) in PLACES) and "${" not in o and o[0] not in "~+"
        else o
        for o in overrides
    ]


def key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def value(override: str) -> str:
    return override.partition("=")[2].strip("'\"")


def checkpoint_overrides(path: Path) -> list[str]:
    """The overrides of the run that wrote a checkpoint."""
    import torch  # late, because --help must not wait for it

    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)["metalearn"]["overrides"]
    except Exception as error:  # whatever a file that is no checkpoint makes torch raise
        why = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} is not a checkpoint of metalearn: {why}") from error


def newest_unfinished(outputs: Path, argv: list[str]) -> Path | None:
    """The latest run under `outputs` of the same overrides that left a checkpoint and did not complete."""
    wanted = _definition(argv)
    for path in sorted(outputs.glob("*/*/checkpoints/last.ckpt"), key=lambda p: p.stat().st_mtime, reverse=True):
        folder = path.parent.parent
        overrides, result = folder / ".hydra/overrides.yaml", folder / "result.json"
        if not overrides.is_file() or _definition(yaml.safe_load(overrides.read_text())) != wanted:
            continue
        if is_claimed(folder):
            continue
        if not result.is_file() or json.loads(result.read_text())["status"] != "completed":
            return folder
    return None


def _resumed(folder: Path, argv: list[str]) -> list[str]:
    last = folder / "checkpoints/last.ckpt"
    if not last.is_file():
        raise FileNotFoundError(f"cannot resume {folder}: it has no checkpoints/last.ckpt")
    argv = [*_without("resume", argv), f"resume='{folder}'"]
    if "hydra.run.dir" not in map(key, argv):
        argv.append(f"hydra.run.dir='{folder}'")
    return _inherit(checkpoint_overrides(last), argv)


def _inherit(overrides: list[str], argv: list[str]) -> list[str]:
    typed = set(map(key, argv))
    # Arguments of a part go with it: those of maml mean nothing to another algorithm.
    replaced = typed & {"dataset", "algorithm", "backbone"}
    return [*(o for o in overrides if key(o) not in typed | NOW and key(o).partition(".")[0] not in replaced), *argv]


def _without(name: str, argv: list[str]) -> list[str]:
    return [arg for arg in argv if key(arg) != name]


def _definition(overrides: list[str]) -> set[str]:
    return {o for o in overrides if key(o) not in NOW and not key(o).startswith("hydra")}
