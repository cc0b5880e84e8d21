"""Measurements of one process; each side has separate processes, so that none warms up another."""

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
from sides import BF16, COMPILED, IN_TURN, OURS, SIDES, VMAP
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from works import EVALUATION, STEPS, Step, bank, batch_of

from metalearn.run.process.machine import keep_freed_memory

# Ends the whole program at its first step.
TO_FIRST_STEP = """
import os, sys
from metalearn import __main__ as program
from metalearn.training.module import FewShotModule
FewShotModule.on_train_batch_end = lambda *_: os._exit(77)
program.main()
"""
AT_FIRST_STEP = 77


def one(side: str, work: str, *, steps: int, episodes: int, device: str) -> dict[str, float]:
    """Measures the seconds of a step or an evaluation, its accuracy, and peak memory in MiB."""
    if side in (OURS, IN_TURN, BF16, COMPILED, VMAP):
        keep_freed_memory()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    measured = evaluation(side, episodes, device) if work == EVALUATION else step(side, work, steps, device)
    return measured | {"mebibytes": peak_memory(device)}


def finish(device: str) -> None:
    """Waits until the device has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak_memory(device: str) -> float:
    """Returns the peak memory of a GPU or the process in MiB; 0 on a system other than Linux."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved() / 2**20
    # getrusage would return at least the memory of the parent process.
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def step(side: str, work: str, steps: int, device: str) -> dict[str, float]:
    module, loss_of = SIDES[device][work][side](STEPS[work])
    module.to(device)
    optimizer, batch, times = torch.optim.Adam(module.parameters(), 1e-3), batch_of(STEPS[work], device), []
    for _ in range(steps):
        finish(device)
        began = time.perf_counter()
        optimizer.zero_grad()
        loss_of(batch).backward()
        optimizer.step()
        finish(device)
        times.append(time.perf_counter() - began)
    return {"seconds": statistics.median(times[len(times) // 3 :])}


def evaluation(side: str, episodes: int, device: str) -> dict[str, float]:
    evaluate = SIDES[device][EVALUATION][side](bank(), episodes, device)
    began = time.perf_counter()
    accuracy = evaluate()
    return {"seconds": time.perf_counter() - began, "accuracy": accuracy}


def machine(device: str) -> dict[str, float]:
    """Measures the operations per second of large matrix products, and parts of steps."""
    keep_freed_memory()
    size = 2048 if device == "cpu" else 8192
    return {
        "peak": product(size, torch.float32, device),
        "peak in bf16": product(size, torch.bfloat16, device),
        "draw": seconds_to_draw(),
        **{f"operations of {work}": operations(STEPS[work]) for work in STEPS},
        **{
            f"convolutions of {work}": seconds_of_convolutions(STEPS[work], device)
            for work in STEPS
            if STEPS[work].inner_steps
        },
    }


def product(size: int, dtype: torch.dtype, device: str) -> float:
    """Measures the operations per second of a matrix product, the best of 12.

    On a GPU, float32 products are in TF32, as its convolutions are.
    """
    a, b = torch.rand(2, size, size, device=device).to(dtype)
    times, before = [], torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device == "cuda" else before)
    for _ in range(12):
        finish(device)
        began = time.perf_counter()
        a @ b
        finish(device)
        times.append(time.perf_counter() - began)
    torch.set_float32_matmul_precision(before)
    return 2 * size**3 / min(times)


def operations(work: Step) -> float:
    """Counts the operations of a step's convolutions and matrix products, with derivatives.

    It counts on the CPU, with tasks one by one: torch counts the convolutions that vmap groups as
    if they had one group, and only those of the main thread.
    """
    _, loss_of = ours.step_in_turn(work) if work.inner_steps else ours.step(work)
    with FlopCounterMode(display=False) as counter:
        loss_of(batch_of(work)).backward()
    return counter.get_total_flops()


class Convolutions(TorchDispatchMode):
    """Records each call of a convolution, and of its derivatives."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], Any]] = []

    def __torch_dispatch__(self, call: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        bound = partial(call, *args, **(kwargs or {}))
        if "convolution" in call.name():
            self.calls.append(bound)
        return bound()


@torch.no_grad()
def seconds_of_convolutions(work: Step, device: str, times: int = 5) -> float:
    """Measures the convolutions of a step alone, with derivatives, repeated one by one."""
    module, loss_of = ours.step(work) if device == "cuda" else ours.step_in_turn(work)
    module.to(device)
    with torch.enable_grad(), Convolutions() as noted:
        loss_of(batch_of(work, device)).backward()
    seconds = []
    for _ in range(times):
        finish(device)
        began = time.perf_counter()
        for call in noted.calls:
            call()
        finish(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def seconds_to_draw(count: int = 50) -> float:
    """Measures the drawing of a ProtoNet batch and the gathering of its images."""
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
    """Measures the time to the first step on glyphs, which the cache must hold already."""
    with tempfile.TemporaryDirectory() as outputs:
        command = [sys.executable, "-c", TO_FIRST_STEP, f"paths.outputs={outputs}"]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        seconds = time.perf_counter() - began
    if done.returncode != AT_FIRST_STEP:
        raise RuntimeError(f"the run ended with {done.returncode} before its first step: {done.stderr[-500:]}")
    return seconds
