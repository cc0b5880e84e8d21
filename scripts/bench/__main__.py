"""Times metalearn against plain PyTorch and other libraries, in turns, and writes the table.

Each side runs in a separate process, `--rounds` times, after a check that it does equal work.
Ratios are of medians within one run of this command.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path

import measure
import torch
from rich.console import Console
from sides import LIBRARIES, OURS, SIDES, check
from table import Timing, document
from works import EVALUATION, MANY

DOCS = Path(__file__).resolve().parents[2] / "docs"
OUT = {"cpu": DOCS / "benchmarks.md", "cuda": DOCS / "benchmarks_gpu.md"}


def in_a_process(*arguments: str) -> dict[str, float]:
    """Runs this file in a process. Raises RuntimeError with the last line of a failed process."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return json.loads(done.stdout.splitlines()[-1])


def measured(given: argparse.Namespace, side: str, work: str, *, steps: int, episodes: int) -> dict[str, float]:
    """Returns the numbers of `measure.one`. Raises RuntimeError if a side fails.

    On a CPU it runs in a separate process, since an earlier side would warm up the allocator.
    """
    if given.device == "cpu":
        return in_a_process("--steps", str(steps), "--episodes", str(episodes), "--one", side, work)
    try:
        return measure.one(side, work, steps=steps, episodes=episodes, device=given.device)
    except Exception as error:  # a library may fail in any way
        raise RuntimeError(
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from error


def why_missing(given: argparse.Namespace, side: str, work: str) -> str | None:
    """Returns why a library cannot run, or None if the side can."""
    if side not in LIBRARIES:
        return None
    if importlib.util.find_spec(side) is None:
        return "not installed"
    try:
        measured(given, side, work, steps=1, episodes=1)
    except RuntimeError as error:
        return f"does not run: {error}"
    return None


def why_missing_of(work: str, given: argparse.Namespace) -> dict[str, str | None]:
    """Returns why each side is missing, None if it is not; the sides that are not are checked."""
    missing = {side: why_missing(given, side, work) for side in SIDES[given.device][work]}
    for side, why in missing.items():
        if why is None and work != EVALUATION:
            check(work, side, given.device)
    return missing


def timings(work: str, missing: dict[str, str | None], given: argparse.Namespace) -> list[Timing]:
    """Times all sides of a work; metalearn is first, and missing sides are included."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side, why in missing.items() if why is None}
    for number in range(given.rounds):
        for side, runs in found.items():
            Console(stderr=True).print(f"{work}, {side}, round {number + 1} of {given.rounds}")
            runs.append(measured(given, side, work, steps=given.steps, episodes=given.episodes))
    if work == EVALUATION:
        agree({side: runs[0]["accuracy"] for side, runs in found.items()}, given.episodes)
    return [
        Timing(
            work,
            side,
            seconds=[run["seconds"] for run in found.get(side, [])],
            mebibytes=max((run["mebibytes"] for run in found.get(side, [])), default=0.0),
            missing=why,
        )
        for side, why in missing.items()
    ]


def agree(accuracies: dict[str, float], episodes: int) -> None:
    """Raises AssertionError if the accuracy of a side differs from metalearn's."""
    for side, accuracy in accuracies.items():
        apart = abs(accuracy - accuracies[OURS])
        assert apart <= episodes**-0.5, f"{side} has an accuracy of {accuracy:.4f}, metalearn {accuracies[OURS]:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=OUT, default="cpu", help="where the steps run (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each side does each work (%(default)s)")
    parser.add_argument("--steps", type=int, default=12, help="steps of a round, the first third unused (%(default)s)")
    parser.add_argument("--episodes", type=int, default=600, help="test episodes of an evaluation (%(default)s)")
    parser.add_argument("--out", type=Path, help="the file to write (docs/benchmarks.md, docs/benchmarks_gpu.md)")
    parser.add_argument("--one", nargs=2, metavar=("SIDE", "WORK"), help=argparse.SUPPRESS)  # task of a process
    given = parser.parse_args()
    numbers = {"steps": given.steps, "episodes": given.episodes}
    if given.one:
        print(json.dumps(measure.one(*given.one, **numbers, device=given.device)))
        return
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device=cuda: torch finds no CUDA device here")
    missing = {work: why_missing_of(work, given) for work in SIDES[given.device]}  # fails before anything is timed
    measure.seconds_to_first_step()  # the first run also draws glyphs, so it is not counted
    facts = [measure.machine(given.device) for _ in range(given.rounds)]
    machine = {name: statistics.median(fact[name] for fact in facts) for name in facts[0]}
    machine["help"] = statistics.median(measure.seconds_of_help() for _ in range(given.rounds))
    machine["first_step"] = statistics.median(measure.seconds_to_first_step() for _ in range(given.rounds))
    many = [measured(given, OURS, EVALUATION, steps=1, episodes=MANY)["seconds"] for _ in range(given.rounds)]
    machine["many"] = statistics.median(many)
    found = [timing for work in missing for timing in timings(work, missing[work], given)]
    text = document(found, machine, device=given.device, rounds=given.rounds, **numbers)
    out = given.out or OUT[given.device]
    out.write_text(text)
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
    Console(stderr=True).print(f"written to {out}")


if __name__ == "__main__":
    main()
