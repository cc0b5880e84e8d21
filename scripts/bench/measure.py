"""What one process measures; the table asks for it in processes of their own, so that no side warms up another."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ours
import torch
from sides import BF16, COMPILED, OURS, SIDES, VMAP
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from works import EVALUATION, STEPS, Step, bank, batch_of

from metalearn.run.machine import keep_freed_memory

# Ends the run at its first step: nothing of the program that comes before is left out.
TO_FIRST_STEP = """
import os, sys
from metalearn import __main__ as program
from metalearn.training.module import FewShotModule
FewShotModule.on_train_batch_end = lambda *_: os._exit(77)
program.main()
"""
AT_FIRST_STEP = 77


def one(side: str, work: str, *, steps: int, episodes: int) -> dict[str, float]:
    """Seconds of a step, or of the evaluation and its accuracy; and the largest memory of the process, in MB."""
    if side in (OURS, BF16, COMPILED, VMAP):
        keep_freed_memory()
    measured = evaluation(side, episodes) if work == EVALUATION else step(side, work, steps)
    return measured | {"megabytes": peak_memory()}


def peak_memory() -> float:
    """MB, 0 where the system is not Linux."""
    # Not getrusage: what it gives is no smaller than the memory of the process that started this one.
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def step(side: str, work: str, steps: int) -> dict[str, float]:
    module, loss_of = SIDES[work][side](STEPS[work])
    optimizer, batch, times = torch.optim.Adam(module.parameters(), 1e-3), batch_of(STEPS[work]), []
    for _ in range(steps):
        began = time.perf_counter()
        optimizer.zero_grad()
        loss_of(batch).backward()
        optimizer.step()
        times.append(time.perf_counter() - began)
    return {"seconds": statistics.median(times[len(times) // 3 :])}


def evaluation(side: str, episodes: int) -> dict[str, float]:
    evaluate = SIDES[EVALUATION][side](bank(), episodes)
    began = time.perf_counter()
    accuracy = evaluate()
    return {"seconds": time.perf_counter() - began, "accuracy": accuracy}


def machine() -> dict[str, float]:
    """The float32 operations a second of a large matrix product, those of steps, and what parts of steps take."""
    keep_freed_memory()
    a, b = torch.rand(2, 2048, 2048)
    times = []
    for _ in range(12):
        began = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - began)
    return {
        "peak": 2 * 2048**3 / min(times),
        "draw": seconds_to_draw(),
        **{f"operations of {work}": operations(STEPS[work]) for work in STEPS},
        **{
            f"convolutions of {work}": seconds_of_convolutions(STEPS[work]) for work in STEPS if STEPS[work].inner_steps
        },
    }


def operations(work: Step) -> float:
    """Of the convolutions and matrix products of a step, in all its derivatives."""
    _, loss_of = ours.step(work)
    with FlopCounterMode(display=False) as counter:
        loss_of(batch_of(work)).backward()
    return counter.get_total_flops()


class Convolutions(TorchDispatchMode):
    """Notes each call of a convolution, and of its derivatives."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], Any]] = []

    def __torch_dispatch__(self, call: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        bound = partial(call, *args, **(kwargs or {}))
        if "convolution" in call.name():
            self.calls.append(bound)
        return bound()


@torch.no_grad()
def seconds_of_convolutions(work: Step, times: int = 5) -> float:
    """Of the convolutions of a step alone, in all its derivatives, done again one after the other."""
    _, loss_of = ours.step(work)
    with torch.enable_grad(), Convolutions() as noted:
        loss_of(batch_of(work)).backward()
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        for call in noted.calls:
            call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def seconds_to_draw(count: int = 50) -> float:
    """To draw the batch of a ProtoNet step and to gather its images."""
    data = ours.data_of(STEPS["prototypical"], bank())
    began = time.perf_counter()
    for index in range(count):
        data.episodes(data.collate([data.draw("train", index)]), "train")
    return (time.perf_counter() - began) / count


def seconds_of_help() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "metalearn", "--help"], check=True, capture_output=True)
    return time.perf_counter() - began


def seconds_to_first_step() -> float:
    """On glyphs, which are drawn before the clock starts where the cache does not hold them."""
    with tempfile.TemporaryDirectory() as outputs:
        command = [sys.executable, "-c", TO_FIRST_STEP, f"paths.outputs={outputs}"]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        seconds = time.perf_counter() - began
    if done.returncode != AT_FIRST_STEP:
        raise RuntimeError(f"the run ended with {done.returncode} before its first step: {done.stderr[-500:]}")
    return seconds
