"""What the person sees before and after the training."""

import math
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.tree import Tree

# Where nobody looks at the width, in a log or a pipe, lines may be long.
console = Console() if sys.stdout.isatty() else Console(width=140)


def show_config(config: dict[str, Any]) -> None:
    # The algorithm holds the backbone as an argument; once is enough to read it.
    algorithm = (
        {**config["algorithm"], "backbone": "${backbone}"} if "backbone" in config["algorithm"] else config["algorithm"]
    )
    tree = Tree("config")
    _grow(tree, {**config, "algorithm": algorithm})
    console.print(tree, highlight=True)


def show_plan(
    config: dict[str, Any], batch_size: int | None, num_parameters: int, num_devices: int, folder: Path
) -> None:
    """What the run is about to do."""
    trainer, episode, tasks = config["trainer"], config["episode"], config["tasks_per_batch"]
    steps, batches = trainer["max_steps"], trainer["accumulate_grad_batches"]
    seen = f"{steps * batches * tasks * num_devices:,}" if steps > 0 else f"as many as {trainer['max_time']} allows"
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("parameters", f"{num_parameters:,}")
    if config["mode"] == "train":
        table.add_row("tasks of a step", f"{tasks} x {num_devices} devices x {batches} batches")
        table.add_row("episodes to be seen" if batch_size is None else "batches to be seen", seen)
        table.add_row("trained on", trained_on(episode["train"], batch_size))
    table.add_row("tested on", shape(episode["test"]))
    table.add_row("run directory", str(folder))
    console.print(table)


def show_result(fields: dict[str, Any], published: dict[str, Any] | None, folder: str) -> None:
    """The one table at the end: accuracy with its interval, how it was measured, and where everything lies."""
    test, episode = fields["test"], fields["episode"]
    accuracy = test["accuracy"]
    table = Table(title=f"{fields['algorithm']} on {fields['dataset']}", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("meta-test accuracy", f"[bold]{percent(accuracy['mean'])} ± {percent(accuracy['ci95'])} %[/bold]")
    if "accuracy_by_step" in test:
        table.add_row("after inner steps 0, 1, ...", "  ".join(map(percent, test["accuracy_by_step"])) + " %")
    if "accuracy_by_instance" in test:
        table.add_row(
            "at the 1st, 2nd, 5th, 10th of a class", "  ".join(map(percent, test["accuracy_by_instance"])) + " %"
        )
    table.add_row("episodes", f"{accuracy['num_episodes']} of {shape(episode['test'])}")
    table.add_row("trained on", trained_on(episode["train"], fields["batch_size"]))
    if fields["pretrained"]:
        table.add_row("pretrained", fields["pretrained"])
    table.add_row("batch norm", f"{fields['batch_norm']} ({'transductive' if fields['transductive'] else 'inductive'})")
    if fields["val"]:
        val = fields["val"]["accuracy"]
        table.add_row(
            "meta-val accuracy", f"{percent(val['mean'])} ± {percent(val['ci95'])} %, step {fields['best_step']}"
        )
    if published:
        table.add_row("published", f"{percent(published['accuracy'])} %  {published['source']}")
    table.add_row("run directory", folder)
    console.print(table)


def trained_on(episode: dict[str, Any], batch_size: int | None) -> str:
    return shape(episode) if batch_size is None else f"{batch_size} images of all base classes a batch"


def shape(episode: dict[str, Any]) -> str:
    return f"{span(episode['way'])}-way {span(episode['shot'])}-shot, {episode['query']} queries per class"


def span(value: int | list[int]) -> str:
    """A number, or a range [smallest, largest]."""
    return str(value) if isinstance(value, int) else f"{value[0]} to {value[1]}"


def percent(fraction: float | None) -> str:
    return "?" if fraction is None or math.isnan(fraction) else f"{100 * fraction:.2f}"


def _grow(tree: Tree, node: dict[str, Any]) -> None:
    for name, child in node.items():
        if isinstance(child, dict) and child:
            _grow(tree.add(f"[bold]{name}[/bold]"), child)
        else:
            tree.add(f"{name}: {child}".replace("[", r"\["))
