"""Places of jobs: GPUs, each with one job or several, or shares of the cores."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from typing import Literal

SlotsSpec = Literal["auto"] | int | Sequence[int | str]


class Slots:
    """Places of which each holds one process of a job.

    Args:
        places: GPUs as CUDA_VISIBLE_DEVICES names them, one listed twice holds two jobs; or places
            without a GPU.
        gpu: whether the places are GPUs.
        threads: number of threads of each process.
    """

    def __init__(self, places: Sequence[str], *, gpu: bool, threads: int) -> None:
        self.free = list(places)
        self.gpu, self.threads = gpu, threads
        self.capacity = len(places)
        self.widest = len(set(places))  # a job of several processes has each on another GPU

    def take(self, processes: int | None) -> list[str] | None:
        """Takes different places for the processes of a job, the emptiest first.

        Takes all for None, or for more than there are. Returns None while too few are free.
        """
        wanted = min(processes or self.widest, self.widest)
        chosen = [place for place, _ in Counter(self.free).most_common(wanted)]
        if len(chosen) < wanted:
            return None
        for place in chosen:
            self.free.remove(place)
        return chosen

    def give_back(self, places: Sequence[str]) -> None:
        self.free.extend(places)

    def environment(self, places: Sequence[str]) -> dict[str, str]:
        """Returns the variables by which a job knows where it runs."""
        threads = {"OMP_NUM_THREADS": str(self.threads)}
        if not self.gpu:
            return threads
        # nvidia-smi counts in this order, CUDA by itself in another.
        order = os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        return {**threads, "CUDA_VISIBLE_DEVICES": ",".join(places), "CUDA_DEVICE_ORDER": order}


def make_slots(spec: SlotsSpec, threads: int | None) -> Slots:
    """Makes the slots that the config asks for.

    Args:
        spec: a number of jobs, which share the GPUs if there are any; the GPUs to use; or auto: one
            for each visible GPU, else as many as the cores have `threads` for.
        threads: number per process; None for OMP_NUM_THREADS if set, else a share of the cores.

    Raises ValueError when it is none of these.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"hydra.launcher.threads={threads} must be a positive number, or null")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    from_environment = os.environ.get("OMP_NUM_THREADS", "")
    given = threads or (int(from_environment) if from_environment.isdigit() else None)
    gpus = visible_gpus() if spec == "auto" or isinstance(spec, int) else []
    if spec == "auto":
        places = gpus or [str(i) for i in range(max(1, cores // (given or 1)))]
    elif isinstance(spec, int) and spec > 0:
        places = [gpus[i % len(gpus)] if gpus else str(i) for i in range(spec)]
    elif isinstance(spec, Sequence) and not isinstance(spec, str) and spec:
        gpus = places = [str(gpu) for gpu in spec]
    else:
        raise ValueError(f"hydra.launcher.slots={spec} must be auto, a positive number, or a list of GPUs: [0,0,1]")
    return Slots(places, gpu=bool(gpus), threads=given or max(1, cores // len(places)))


def visible_gpus() -> list[str]:
    """Returns the GPUs that a process may use, without importing torch."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu.strip() for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return re.findall(r"^GPU (\d+):", listed, re.MULTILINE)
