"""The one-shot classification of Omniglot's authors: 20 runs of 20-way one-shot in an alphabet.

Brenden Lake, Ruslan Salakhutdinov, Joshua Tenenbaum. Human-level concept learning through
probabilistic program induction. Science 350, 2015. lake_runs.csv lists their 20 runs. A run has 20
characters of an alphabet; one person drew the support images, another drew the queries.
"""

import csv
from importlib import resources

import torch

from metalearn.data.bank import ClassBank
from metalearn.data.rotations import upright
from metalearn.episodes.sampling import Draw

NUM_RUNS, WAY = 20, 20
SETTING = {"way": WAY, "shot": 1, "query": 1, "shots": "equal", "queries": "equal", "num_episodes": NUM_RUNS}
"""Value of episode.test in conf/evaluation/lake.yaml; it must match the listed runs."""


def lake_draws(bank: ClassBank) -> list[Draw]:
    """Returns the 20 runs as episodes of the meta-test bank, without the leading task axis.

    Raises ValueError if the bank lacks drawings of Omniglot's evaluation set.
    """
    # Rotated characters are separate classes, and the runs use none of them.
    classes = {upright(name): rows for name, rows in zip(bank.names, bank.rows, strict=True)}
    text = resources.files(__package__).joinpath("lake_runs.csv").read_text(encoding="utf-8")
    trials = list(csv.DictReader(text.splitlines()))
    if missing := [trial["class"] for trial in trials if len(classes.get(trial["class"], ())) != 20]:
        raise ValueError(f"evaluation=lake needs dataset=omniglot with dataset.split=lake; there is no {missing[0]}")
    draws = []
    for run in range(1, NUM_RUNS + 1):
        of_run = [trial for trial in trials if int(trial["run"]) == run]
        support = [classes[trial["class"]][int(trial["support_drawing"]) - 1] for trial in of_run]
        query = [classes[trial["class"]][int(trial["query_drawing"]) - 1] for trial in of_run]
        ways = torch.arange(WAY)
        draws.append(Draw(torch.tensor(support), ways, torch.tensor(query), ways, WAY))
    return draws
