"""Settings of the process for the machine, and for messages of the libraries."""

import ctypes
import logging
import os
import sys
import warnings

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only

from metalearn.run.screen import console

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of the GNU C library
BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Makes the allocator keep freed memory for the next step.

    A training step frees and allocates the same large blocks again. Fresh pages must be zeroed,
    which costs a CPU more than half of the step. With another C library this does nothing.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_TRIM_THRESHOLD, BYTES)
            mallopt(M_MMAP_THRESHOLD, BYTES)


def accelerator(wanted: str) -> str:
    """Returns the accelerator of the Trainer: "cpu" where "auto" would be Apple's GPU."""
    if wanted == "auto" and torch.backends.mps.is_available():
        console.say("using the CPU: Apple's GPU has no float64, which scores need")
        return "cpu"
    return wanted


def is_rank_zero() -> bool:
    """Whether this process writes and prints for all."""
    return getattr(rank_zero_only, "rank", 0) == 0


def environments() -> list[SLURMEnvironment]:
    """Returns the environment of Lightning under SLURM, without automatic requeueing.

    Lightning would requeue the job although its controller resubmits it.
    """
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def check_nodes(trainer: pl.Trainer) -> None:
    """Raises ValueError for several nodes if this process waits for others that nobody starts."""
    alone = isinstance(getattr(trainer.strategy, "cluster_environment", None), LightningEnvironment)
    if trainer.num_nodes > 1 and alone and not {"MASTER_ADDR", "NODE_RANK", "GROUP_RANK"} & os.environ.keys():
        advice = "start it on each node by srun, torchrun or hydra/launcher=slurm (docs/clusters.md)"
        raise ValueError(f"trainer.num_nodes={trainer.num_nodes}, but nothing says which node this is: {advice}")


def quieten_lightning() -> None:
    """Hides messages of Lightning about intended settings."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).handlers.clear()  # they would print each message twice
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "does not have many workers",  # episodes are drawn, not loaded
        "logs directory .* exists and is not empty",  # it holds .hydra
        "Checkpoint directory .* exists and is not empty",  # the run is resumed
        "It is recommended to use `self.log",  # all processes log equal numbers
        "`broadcast_buffers` is deprecated",  # older torch lacks its successor
        "isinstance\\(treespec, LeafSpec\\)",
        "The `srun` command is available",  # a run without srun is intended
        "Found .* module\\(s\\) in eval mode",  # a frozen network
    ):
        warnings.filterwarnings("ignore", f".*{message}")
