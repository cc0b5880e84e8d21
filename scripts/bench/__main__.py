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
from rich.console import Console
from sides import LIBRARIES, OURS, SIDES, check
from table import Timing, document
from works import EVALUATION, MANY

OUT = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


def in_a_process(*arguments: str) -> dict[str, float]:
    """Runs this file in a process. Raises RuntimeError with the last line of a failed process."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return json.loads(done.stdout.splitlines()[-1])


def why_missing(side: str, work: str) -> str | None:
    """Returns why a library cannot run, or None if the side can."""
    if side not in LIBRARIES:
        return None
    if importlib.util.find_spec(side) is None:
        return "not installed"
    try:
        in_a_process("--steps", "1", "--episodes", "1", "--side", side, work)
    except RuntimeError as error:
        return f"does not run: {error}"
    return None


def timings(work: str, given: argparse.Namespace) -> list[Timing]:
    """Times all sides of a work; metalearn is first, and missing sides are included."""
    missing = {side: why_missing(side, work) for side in SIDES[work]}
    measured: dict[str, list[dict[str, float]]] = {side: [] for side, why in missing.items() if why is None}
    numbers = ["--steps", str(given.steps), "--episodes", str(given.episodes)]
    if work != EVALUATION:
        for side in measured:
            check(work, side)
    for number in range(given.rounds):
        for side, runs in measured.items():
            Console(stderr=True).print(f"{work}, {side}, round {number + 1} of {given.rounds}")
            runs.append(in_a_process(*numbers, "--side", side, work))
    if work == EVALUATION:
        agree({side: runs[0]["accuracy"] for side, runs in measured.items()}, given.episodes)
    return [
        Timing(
            work,
            side,
            seconds=[run["seconds"] for run in measured.get(side, [])],
            megabytes=max((run["megabytes"] for run in measured.get(side, [])), default=0.0),
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
    parser.add_argument("--rounds", type=int, default=3, help="processes of each side for each work (%(default)s)")
    parser.add_argument(
        "--steps", type=int, default=12, help="steps of a process, the first third unused (%(default)s)"
    )
    parser.add_argument("--episodes", type=int, default=600, help="test episodes of an evaluation (%(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="the file to write (%(default)s)")
    parser.add_argument("--side", nargs=2, metavar=("SIDE", "WORK"), help=argparse.SUPPRESS)  # for a process
    parser.add_argument("--machine", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(measure.run_side(*given.side, steps=given.steps, episodes=given.episodes)))
        return
    if given.machine:
        print(json.dumps(measure.machine()))
        return
    measure.seconds_to_first_step()  # the first run also draws glyphs, so it is not counted
    facts = [in_a_process("--machine") for _ in range(given.rounds)]
    machine = {name: statistics.median(fact[name] for fact in facts) for name in facts[0]}
    machine["help"] = statistics.median(measure.seconds_of_help() for _ in range(given.rounds))
    machine["first_step"] = statistics.median(measure.seconds_to_first_step() for _ in range(given.rounds))
    many = ["--episodes", str(MANY), "--side", OURS, EVALUATION]
    machine["many"] = statistics.median(in_a_process(*many)["seconds"] for _ in range(given.rounds))
    found = [timing for work in SIDES for timing in timings(work, given)]
    text = document(found, machine, rounds=given.rounds, steps=given.steps, episodes=given.episodes)
    given.out.write_text(text)
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
    Console(stderr=True).print(f"written to {given.out}")


if __name__ == "__main__":
    main()
