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


def one(side: str, work: str, *, steps: int, episodes: int, device: str) -> dict[str, float]:
    """Seconds of a step, or of the evaluation and its accuracy; and the largest memory of the process, in MB."""
    if side in (OURS, BF16, COMPILED, VMAP):
        keep_freed_memory()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    measured = evaluation(side, episodes, device) if work == EVALUATION else step(side, work, steps, device)
    return measured | {"megabytes": peak_memory(device)}


def finish(device: str) -> None:
    """Wait until the device has done what was asked of it."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak_memory(device: str) -> float:
    """MB of a GPU, or of the process; 0 where the system is not Linux."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved() / 2**20
    # Not getrusage: what it gives is no smaller than the memory of the process that started this one.
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
    """The operations a second of large matrix products, those of steps, and what parts of steps take."""
    keep_freed_memory()
    size = 2048 if device == "cpu" else 8192
    return {
        "peak": product(size, torch.float32, device),
        "peak in bf16": product(size, torch.bfloat16, device),
        "draw": seconds_to_draw(),
        **{f"operations of {work}": operations(STEPS[work], device) for work in STEPS},
        **{
            f"convolutions of {work}": seconds_of_convolutions(STEPS[work], device)
            for work in STEPS
            if STEPS[work].inner_steps
        },
    }


def product(size: int, dtype: torch.dtype, device: str) -> float:
    """Operations a second of a matrix product, the best of 12; on a GPU in TF32, as its convolutions in float32."""
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


def operations(work: Step, device: str) -> float:
    """Of the convolutions and matrix products of a step, in all its derivatives."""
    module, loss_of = ours.step(work)
    module.to(device)
    with FlopCounterMode(display=False) as counter:
        loss_of(batch_of(work, device)).backward()
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
def seconds_of_convolutions(work: Step, device: str, times: int = 5) -> float:
    """Of the convolutions of a step alone, in all its derivatives, done again one after the other."""
    module, loss_of = ours.step(work)
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
