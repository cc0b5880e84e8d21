"""The page docs/benchmarks.md, from the measured times."""

import datetime
import importlib.metadata
import os
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch
from sides import BF16, COMPILED, LIBRARIES, OURS, SAME
from works import CLASSES, EVALUATION, MANY, PER_CLASS, QUERY, SHOT, STEPS, WAY

import metalearn

HEAD = {
    "cpu": """\
# Benchmarks

`make bench` writes this page; it is never edited by hand. A GPU has [another page](benchmarks_gpu.md).
Seconds are medians over processes, in brackets the fastest and the slowest. A ratio is the median
of a side divided by that of metalearn in float32, of the same run: above 1 metalearn is faster.
Memory is the largest resident set of a process, including the imports of the libraries. The sides take turns.
""",
    "cuda": """\
# Benchmarks on a GPU

`make bench ARGS=--device=cuda` writes this page; it is never edited by hand. Seconds are medians
over rounds, in brackets the fastest and the slowest; each step waits until the GPU has finished. A
ratio is the median of a side divided by that of metalearn in float32, of the same run: above 1
metalearn is faster. Memory is what torch has reserved on the GPU. The sides take turns.
""",
}
NOTES = {
    "cpu": f"""\
learn2learn is missing: its PyPI release has to be compiled and does not build here. easyfsl is
given two missing parts: an empty module instead of torchvision, whose data sets and residual
networks are not timed here, and a sampler's base that accepts an argument as in older torch.

The images of the evaluation are {CLASSES} made-up classes of {PER_CLASS} in memory, the size of Omniglot's
meta-test. The time includes drawing the episodes. metalearn embeds each image once, the others
embed it again in each episode, so the ratio grows with the number of episodes.

metalearn computes the tasks of MAML in as many threads as there are cores, compiled or not, each
with the operations of one task at a time; a side "one by one" (`algorithm.execution.vmap=false`)
has all cores for the operations of one task, as the peers have.

"compiled" is `algorithm.execution.compile=true`, which needs a C++ compiler; a training of 40,000
inner steps or more is compiled by default ([MAML](algorithms/maml.md#settings)). Its first step, not
in the seconds here, takes one to two minutes on two cores, and a few seconds if the machine has
compiled the same before.

"vmap" is `algorithm.execution.vmap=true`, all tasks of a step at once. On some CPUs it is faster for
many small tasks with one inner step; after that step each task has its own weights, and their
convolutions run in groups.

Three parts bound the steps of MAML. Its convolutions are of five images each; the table of the
machine lists their time alone. The second derivatives of batch normalisation are in closed form
here (metalearn/backbones/normalise.py). Python runs between many small operations; a compiled step
has little of it.

In the table of the machine a step can be above 100 %: oneDNN's convolutions may be faster than
MKL's matrix product.""",
    "cuda": f"""\
metalearn replays each training step as two CUDA graphs (metalearn/training/replay.py), and MAML
runs all tasks of a step at once under vmap; both are the defaults on a GPU. "no CUDA graph" is
`trainer.cuda_graph=false`: Python launches each kernel. Convolutions in float32 run in TF32 on
every side, the default of torch.

easyfsl is given two missing parts: an empty module instead of torchvision, and a sampler's base
that accepts an argument as in older torch. learn2learn is missing: its PyPI release has to be
compiled and does not build here.

The images of the evaluation are {CLASSES} made-up classes of {PER_CLASS}, the size of Omniglot's meta-test. The
time includes drawing the episodes. metalearn embeds each image once, the others embed it again in
each episode, so the ratio grows with the number of episodes.""",
}
PRODUCT = {"cpu": "float32 matrix product, 2048 x 2048", "cuda": "TF32 matrix product, 8192 x 8192"}


@dataclass(frozen=True)
class Timing:
    """Seconds of each process of a side at a work; empty with a reason if it is missing."""

    work: str
    side: str
    seconds: list[float]
    mebibytes: float
    missing: str | None


def document(
    timings: list[Timing], machine: dict[str, float], *, device: str, rounds: int, steps: int, episodes: int
) -> str:
    """Writes the page.

    Args:
        timings: times of all sides and works.
        machine: numbers of `measure.machine`, and seconds of `help`, `first_step` and `many`.
        device: "cpu" or "cuda".
        rounds: number of rounds of each side.
        steps: number of steps of a round.
        episodes: number of test episodes of an evaluation.
    """
    elsewhere = "" if device == "cpu" else f" --device={device}"
    command = f"python scripts/bench{elsewhere} --rounds {rounds} --steps {steps} --episodes {episodes}"
    conditions = f"Rounds of each side: {rounds}. Steps of each: {steps}, the first third of which is not counted."
    return "\n".join([
        HEAD[device],
        conditions,
        "",
        *about(device),
        f"- command: `{command}`",
        "",
        "## Table",
        "",
        *rows(timings, episodes),
        "",
        NOTES[device],
        "",
        SAME,
        "",
        "## Machine",
        "",
        *machine_rows(timings, machine, episodes, device),
        "",
    ])  # fmt: skip


def about(device: str) -> list[str]:
    given = {"Python": platform.python_version(), "torch": torch.__version__, "metalearn": metalearn.__version__}
    versions = [f"{name} {version}" for name, version in given.items()]
    for name in ("lightning", *LIBRARIES):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{name} not installed")
    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} processors"
    gpu = f"{torch.cuda.get_device_name()}, " if device == "cuda" else ""
    return [
        f"- date: {datetime.date.today()}",
        f"- machine: {gpu}{processor()}, {threads}, {platform.system()}, load {os.getloadavg()[0]:.1f} at the end",
        f"- versions: {', '.join(versions)}",
    ]


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def rows(timings: list[Timing], episodes: int) -> list[str]:
    lines = ["| work | side | seconds | ratio | memory, MiB |", "|---|---|---|---|---|"]
    mine = {timing.work: statistics.median(timing.seconds) for timing in timings if timing.side == OURS}
    evaluation = f"evaluation, {episodes:,} episodes, {WAY}-way {SHOT}-shot {QUERY} queries"
    for timing in timings:
        title = evaluation if timing.work == EVALUATION else STEPS[timing.work].title
        if timing.missing:
            lines.append(f"| {title} | {timing.side} | {timing.missing.replace('|', '/')} | - | - |")
            continue
        median = statistics.median(timing.seconds)
        spread = f"{median:#.3g} ({min(timing.seconds):#.3g} to {max(timing.seconds):#.3g})"
        ratio = "" if timing.side == OURS else f"{median / mine[timing.work]:.2f}"
        memory = f"{timing.mebibytes:,.0f}" if timing.mebibytes else "not known"
        lines.append(f"| {title} | {timing.side} | {spread} | {ratio} | {memory} |")
    return lines


def machine_rows(timings: list[Timing], machine: dict[str, float], episodes: int, device: str) -> list[str]:
    medians = {(t.work, t.side): statistics.median(t.seconds) for t in timings if t.seconds}
    step = {key: seconds for key, seconds in medians.items() if key[1] in (OURS, COMPILED, BF16)}
    return [
        "| | |",
        "|---|---|",
        f"| {PRODUCT[device]}, the best of 12 | {machine['peak'] / 1e9:,.0f} GFLOP/s |",
        f"| in bf16, the best of 12 | {machine['peak in bf16'] / 1e9:,.0f} GFLOP/s |",
        *(reached(work, side, seconds, machine) for (work, side), seconds in step.items() if work in STEPS),
        *(
            f"| {STEPS[work].title}: its convolutions alone | {machine[f'convolutions of {work}']:.3f} s |"
            for work in STEPS
            if STEPS[work].inner_steps
        ),
        f"| drawing and gathering the batch of the first of these steps | {1e3 * machine['draw']:.1f} ms, "
        f"{machine['draw'] / step['prototypical', OURS]:.1%} of the step |",
        f"| {MANY:,} test episodes as above, metalearn | {machine['many']:.1f} s |",
        *(
            f"| the same at the rate of {side} above | {seconds * MANY / episodes:.0f} s |"
            for (work, side), seconds in medians.items()
            if work == EVALUATION and side != OURS
        ),
        f"| `metalearn --help` | {machine['help']:.2f} s |",
        f"| from the command to the end of the first step, glyphs | {machine['first_step']:.2f} s |",
    ]


def reached(work: str, side: str, seconds: float, machine: dict[str, float]) -> str:
    """Writes a row with the fraction of the machine's speed that a step reaches."""
    operations = machine[f"operations of {work}"]
    peak = machine["peak in bf16" if side == BF16 else "peak"]
    title = f"{STEPS[work].title}, {side}: {operations / 1e9:,.1f} GFLOP of convolutions and products"
    return f"| {title} | {operations / seconds / 1e9:,.0f} GFLOP/s, {operations / seconds / peak:.1%} of it |"
