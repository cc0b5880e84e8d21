"""The result of a run in progress, written atomically to result.json and test_episodes.npz."""

import importlib.metadata
import platform
import re
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from metalearn import __version__
from metalearn.files import write_atomically, write_text
from metalearn.run.command.overrides import with_relative_paths
from metalearn.run.directory.as_json import decode
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.result import Outcome, Result
from metalearn.run.plan import Plan
from metalearn.run.process.machine import is_rank_zero
from metalearn.run.settings import overrides_of_a_test, trained_with

PACKAGES = ("torch", "lightning", "hydra-core", "omegaconf", "torchmetrics", "numpy")

OF_THE_CONFIG = ("seed", "problem", "batch_norm", "pretrained", "episode", "tasks_per_batch", "published")
"""Keys of the config that are fields of a result."""


class Record:
    """The result of a run so far, written at any end of the run.

    Args:
        folder: run directory.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.outcome = Outcome(status="failed", error=None, test=None, val=None, seconds=None)

    @property
    def result(self) -> Result:
        """Outcome of a run that has a plan."""
        assert isinstance(self.outcome, Result)
        return self.outcome

    def update(self, **fields: Any) -> None:
        """Replaces fields of the result."""
        self.outcome = replace(self.result, **fields)

    def write(self) -> None:
        if isinstance(self.outcome, Result):
            self.update(peak_memory_bytes=peak_memory_bytes())
        write_text(self.folder.result, self.outcome.to_json())

    def write_episodes(self, scores: dict[str, np.ndarray], setting: str = "") -> None:
        def save(file: IO[bytes]) -> None:
            np.savez(file, **scores)  # type: ignore[arg-type]  # its stub takes any name for allow_pickle

        if is_rank_zero():
            write_atomically(self.folder.episodes(setting), save)


def planned(plan: Plan) -> Result:
    """Returns the result before the run begins; a test names the training of its weights.

    Raises ValueError for values of the wrong type, and as `read_origin` does.
    """
    config, fold = plan.config, plan.config["evaluation"].get("fold")
    facts = {
        "status": "failed",
        **plan.choices,
        **{name: config[name] for name in OF_THE_CONFIG},
        "experiment": plan.experiment,
        "accumulate_grad_batches": config["trainer"]["accumulate_grad_batches"],
        "train_split": None if plan.trains_nothing else config["train_split"],
        "trained_dataset": plan.choices["dataset"],
        "trained_with": [],
        "test_dataset": plan.test_dataset,
        "overrides": with_relative_paths(plan.overrides, plan.cwd),
        "evaluations": {},
        "fold": fold,
        "class_split": plan.class_split if fold is None else None,
        "skipped_batches": 0,
        "seconds": {},
        "git": git_revision(),
        "versions": versions(),
    }
    if plan.tests_only and (trained := plan.origin) is not None:
        replaced = [] if plan.trains_nothing else trained_with(plan.settings, plan.choices, trained)
        overrides = overrides_of_a_test(plan.overrides, trained.overrides)
        facts |= {
            "overrides": with_relative_paths(overrides, plan.cwd),
            "trained_with": replaced,
            "accumulate_grad_batches": trained.accumulate_grad_batches,
            "devices": trained.devices,
        }
    result: Result = decode(Result, facts, "")  # all else is None
    return result


def peak_memory_bytes() -> int:
    """Returns the peak memory of the accelerator in bytes, or else of the process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        return torch.cuda.max_memory_allocated()
    # On Linux, ru_maxrss of a new process is at least the memory of the process that started it.
    status = Path("/proc/self/status")
    if status.is_file() and (found := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())):
        return 1024 * int(found[1])
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes if sys.platform == "darwin" else kibibytes * 1024  # macOS counts bytes


def versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "metalearn": __version__, **packages}


def git_revision() -> str | None:
    """Returns the commit of the checkout, with -dirty if files differ; None outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
