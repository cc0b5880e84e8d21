"""The nearest valid name for a wrong one, and texts that fit in a line."""

import difflib
from collections.abc import Iterable

NEAR = 0.6
"""Smallest likeness of a wrong name to a suggested one."""

ELSEWHERE = {
    "ckpt": "checkpoint=PATH",
    "ckpt_path": "checkpoint=PATH with mode=test, or resume=DIR",
    "data": "dataset=NAME, or paths.data=DIR",
    "datamodule": "dataset=NAME",
    "epochs": "trainer.max_steps=N",
    "gpus": "trainer=gpu trainer.devices=N",
    "k_shot": "episode.train.shot=N, and so for val and test",
    "model": "backbone=NAME, or algorithm=NAME",
    "n_way": "episode.train.way=N, and so for val and test",
    "net": "backbone=NAME",
    "network": "backbone=NAME",
    "output_dir": "hydra.run.dir=DIR, or paths.outputs=DIR",
    "query": "episode.train.query=N, and so for val and test",
    "resume_from_checkpoint": "resume=DIR",
    "shot": "episode.train.shot=N, and so for val and test",
    "task": "dataset=NAME, which sets the problem: classification or regression",
    "way": "episode.train.way=N, and so for val and test",
}
"""Names of other programs, and the keys of this one for them."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns a question with the nearest name, or an empty text.

    >>> nearest("conv5", ["conv4", "mlp"])
    "; did you mean 'conv4'?"
    """
    close = difflib.get_close_matches(name, [other for other in names if other != name], n=1, cutoff=NEAR)
    return f"; did you mean '{close[0]}'?" if close else ""


def nearest_key(wrong: str, keys: Iterable[str]) -> str:
    """Returns a question with the nearest key, or an empty text.

    All parts of the key are near those of the wrong one; otherwise its last part is equal.

    >>> nearest_key("algorithm.lr", ["optimizer.lr", "algorithm.inner_loop.steps"])
    "; did you mean 'optimizer.lr'?"
    """
    others = [key for key in keys if key != wrong]
    parts = wrong.split(".")
    if parts[0] in ELSEWHERE and not any(key.split(".")[0] == parts[0] for key in others):
        return f"; use {ELSEWHERE[parts[0]]}"
    near = {key: likeness for key in others if (likeness := _likeness(parts, key.split("."))) >= NEAR}
    if near:
        return f"; did you mean '{max(near, key=lambda key: near[key])}'?"
    same_end = [key for key in others if key.rpartition(".")[2] == parts[-1]]
    close = difflib.get_close_matches(wrong, same_end, n=1, cutoff=0.0)
    return f"; did you mean '{close[0]}'?" if close else ""


def shortened(text: str, length: int = 100) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _likeness(first: list[str], second: list[str]) -> float:
    """Returns the smallest likeness of two parts, in 0..1; 0 for keys of different depth."""
    if len(first) != len(second):
        return 0.0
    return min(difflib.SequenceMatcher(None, a, b).ratio() for a, b in zip(first, second, strict=True))
