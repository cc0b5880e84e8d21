"""Draws docs/curves/ALGORITHM.svg, the validation curves of the records in docs/records/.

    python scripts/write_curves.py

An algorithm without a record has no curve. Each data set and way of its meta-val has a plot of its
own, one below the other. Lines of one colour are the seeds of an experiment.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from metalearn.report.plots.plots import Scale, scale

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 640, 280
LEFT, RIGHT, TOP, BOTTOM = 48, 28, 30, 40  # margins around the plot, in pixels
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # distinct for colour-blind eyes
GREY = "#808080"  # legible on white and on black


class Run(NamedTuple):
    """Validation curve of a record."""

    experiment: str
    task: str  # data set and way of meta-val
    score: str
    points: list[tuple[int, float]]  # step, score; accuracies in percent


def read() -> dict[str, list[Run]]:
    """Reads the curves of each algorithm, in the order of the files."""
    runs = defaultdict(list)
    for path in sorted((ROOT / "docs/records").glob("*.json")):
        record: dict[str, Any] = json.loads(path.read_text())
        if not record["validation"]:
            continue  # trained on meta-val too
        score = "accuracy" if "accuracy" in record["result"]["test"] else "mse"
        factor = 100 if score == "accuracy" else 1
        points = [(int(step), factor * value) for step, value in record["validation"].items()]
        experiment = path.stem.rpartition("-seed")[0]
        result = record["result"]
        task = f"{result['dataset']} {result['episode']['val']['way']}-way"
        runs[result["algorithm"]].append(Run(experiment, task, score, points))
    return runs


def drawn(runs: list[Run]) -> str:
    """Draws the curves of an algorithm as SVG."""
    tasks = sorted({run.task for run in runs}, reverse=True)  # Omniglot first, its 5-way before its 20-way
    plots = [plot([run for run in runs if run.task == task]) for task in tasks]
    body = "\n".join(f'<g transform="translate(0 {HEIGHT * i})">\n{each}\n</g>' for i, each in enumerate(plots))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT * len(plots)}" fill="none" '
        f'font-family="sans-serif" font-size="13">\n{body}\n</svg>\n'
    )


def plot(runs: list[Run]) -> str:
    """Draws the curves of one data set and way."""
    experiments = sorted({run.experiment for run in runs})
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(experiments)}
    x = scale([0, *(step for run in runs for step, _ in run.points)])
    y = scale(value for run in runs for _, value in run.points)
    unit = "accuracy %" if runs[0].score == "accuracy" else runs[0].score
    lines = [
        *grid(x, y),
        *(f'<path d="{path(run, x, y)}" stroke="{colours[run.experiment]}" stroke-width="1.6"/>' for run in runs),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "training steps", anchor="middle"),
        text(6, 16, f"meta-val {unit}, {runs[0].task}"),
    ]
    for number, name in enumerate(experiments):
        seeds = sum(run.experiment == name for run in runs)
        label = f"{name}, {seeds} seeds" if seeds > 1 else name
        lines.append(text(WIDTH - RIGHT, down(8) - 16 * number, label, anchor="end", fill=colours[name]))
    return "\n".join(lines)


def grid(x: Scale, y: Scale) -> list[str]:
    """Draws a line for each tick of y, and the numbers of both axes."""
    lines = []
    for tick in y.ticks:
        height = down(tick.at)
        lines.append(f'<path d="M{LEFT} {height}H{WIDTH - RIGHT}" stroke="{GREY}" stroke-opacity="0.35"/>')
        lines.append(text(LEFT - 6, height + 4, tick.text, anchor="end"))
    return lines + [text(across(tick.at), HEIGHT - BOTTOM + 18, tick.text, anchor="middle") for tick in x.ticks]


def path(run: Run, x: Scale, y: Scale) -> str:
    return "M" + "L".join(f"{across(x.at(step))} {down(y.at(value))}" for step, value in run.points)


def across(percent: float) -> float:
    return round(LEFT + percent / 100 * (WIDTH - LEFT - RIGHT), 1)


def down(percent: float) -> float:
    return round(HEIGHT - BOTTOM - percent / 100 * (HEIGHT - TOP - BOTTOM), 1)


def text(x: float, y: float, words: str, *, anchor: str = "start", fill: str = GREY) -> str:
    return f'<text x="{x}" y="{y}" fill="{fill}" text-anchor="{anchor}">{words}</text>'


def curves() -> dict[str, str]:
    """Draws docs/curves/, by the names of the files."""
    return {f"{algorithm}.svg": drawn(runs) for algorithm, runs in read().items()}


def main() -> None:
    folder = ROOT / "docs/curves"
    folder.mkdir(exist_ok=True)
    for name, svg in curves().items():
        file = folder / name
        if not file.exists() or file.read_text() != svg:
            file.write_text(svg)
            print(file.relative_to(ROOT))


if __name__ == "__main__":
    main()
