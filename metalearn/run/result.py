"""What a run leaves behind: result.json and test_episodes.npz, each written atomically."""

import importlib.metadata
import json
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from metalearn.files import write_atomically
from metalearn.run.machine import is_rank_zero
from metalearn.run.secrets import struck_out

PACKAGES = ("metalearn", "torch", "lightning", "hydra-core", "omegaconf", "torchmetrics", "numpy")


class Record:
    """The result of a run, filled as the run goes on and written at its end, whatever that end is."""

    def __init__(self, folder: Path, fields: dict[str, Any]) -> None:
        self.folder, self.path = folder, folder / "result.json"
        self.fields = {
            "status": "failed",
            "error": None,
            **fields,
            "test": None,
            "evaluations": {},  # the same as test, of other settings, by names such as 20w1s
            "val": None,
            "best_step": None,
            "steps": None,
            "skipped_batches": 0,  # because their loss was not finite
            "num_parameters": None,
            "devices": None,
            "seconds": {"fit": None, "test": None},  # and the medians over the test episodes to adapt and to predict
            "peak_memory_bytes": None,
            "git": git_revision(),
            "versions": versions(),
        }

    def write(self) -> None:
        self.fields["peak_memory_bytes"] = peak_memory_bytes()
        text = json.dumps(_finite(struck_out(self.fields)), indent=2) + "\n"
        write_atomically(self.path, lambda file: file.write(text.encode()))

    def write_episodes(self, scores: dict[str, np.ndarray], setting: str = "") -> None:
        def save(file: IO[bytes]) -> None:
            np.savez(file, **scores)  # type: ignore[arg-type]  # its stub takes any name for allow_pickle

        if is_rank_zero():
            name = f"test_episodes_{setting}.npz" if setting else "test_episodes.npz"
            write_atomically(self.folder / name, save)


def peak_memory_bytes() -> int:
    """Of the accelerator when there is one, else of the process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        return torch.cuda.max_memory_allocated()
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes if sys.platform == "darwin" else kibibytes * 1024  # macOS counts bytes


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def git_revision() -> str | None:
    """Commit of the checkout that metalearn runs from, with -dirty when files differ; None outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _finite(node: Any) -> Any:
    """The same with null for nan and infinity, which are not JSON."""
    if isinstance(node, dict):
        return {name: _finite(child) for name, child in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(child) for child in node]
    if isinstance(node, float) and not np.isfinite(node):
        return None
    return node
