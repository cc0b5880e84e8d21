"""How the process uses the machine, and what the libraries say on it."""

import ctypes
import logging
import sys
import warnings

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only

from metalearn.run import console

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of the GNU C library
BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Let the allocator keep what a step frees for the next one, instead of handing it back to the kernel.

    A training step frees and takes the same large blocks again; zeroing their fresh pages costs a CPU more than half
    of the step. Does nothing where the C library is another one.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_TRIM_THRESHOLD, BYTES)
            mallopt(M_MMAP_THRESHOLD, BYTES)


def accelerator(wanted: str) -> str:
    """That of the Trainer: "auto" is the processor where it would be Apple's GPU, which knows no float64."""
    if wanted == "auto" and torch.backends.mps.is_available():
        console.say("using the CPU: Apple's GPU has no float64, which scores need")
        return "cpu"
    return wanted


def is_rank_zero() -> bool:
    """Whether this is the process that writes and prints for all."""
    return getattr(rank_zero_only, "rank", 0) == 0


def environments() -> list[SLURMEnvironment]:
    """How Lightning finds the other processes of the run, where we must say more than it sees by itself.

    Under SLURM it would requeue the job by itself, beside who has submitted it.
    """
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def quieten_lightning() -> None:
    """Leave out what Lightning says about settings that are meant as they are."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).handlers.clear()  # they would say everything twice
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "does not have many workers",  # episodes are drawn, not loaded
        "logs directory .* exists and is not empty",  # .hydra is in it
        "Checkpoint directory .* exists and is not empty",  # the run is resumed
        "It is recommended to use `self.log",  # all processes log the same number
        "`broadcast_buffers` is deprecated",  # its successor is not in older torch
        "isinstance\\(treespec, LeafSpec\\)",
        "The `srun` command is available",  # who types a command on such a machine means it
    ):
        warnings.filterwarnings("ignore", f".*{message}")
