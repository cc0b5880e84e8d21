"""The nearest right name for a wrong one."""

import difflib
from collections.abc import Iterable

NEAR = 0.6
"""Likeness from which on one name may be meant by another."""

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
    "resume_from_checkpoint": "resume=DIR",
    "task": "dataset=NAME, which sets the problem: classification or regression",
}
"""Names that other programs have for keys of this one."""


def nearest(name: str, names: Iterable[str]) -> str:
    """A question that names the nearest of the known names, or nothing."""
    close = difflib.get_close_matches(name, [other for other in names if other != name], n=1, cutoff=NEAR)
    return f"; did you mean '{close[0]}'?" if close else ""


def nearest_key(wrong: str, keys: Iterable[str]) -> str:
    """A question that names the key whose parts are all near those of the wrong one, or else one with its last part."""
    known = [key for key in keys if key != wrong]
    parts = wrong.split(".")
    if parts[0] in ELSEWHERE and not any(key.split(".")[0] == parts[0] for key in known):
        return f"; use {ELSEWHERE[parts[0]]}"
    near = {key: likeness for key in known if (likeness := _likeness(parts, key.split("."))) >= NEAR}
    if near:
        return f"; did you mean '{max(near, key=lambda key: near[key])}'?"
    same_end = [key for key in known if key.rpartition(".")[2] == parts[-1]]
    close = difflib.get_close_matches(wrong, same_end, n=1, cutoff=0.0)
    return f"; did you mean '{close[0]}'?" if close else ""


def shortened(text: str, length: int = 100) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _likeness(one: list[str], other: list[str]) -> float:
    """The likeness of the two parts that are least alike; 0 for keys of different depth."""
    if len(one) != len(other):
        return 0.0
    return min(difflib.SequenceMatcher(None, a, b).ratio() for a, b in zip(one, other, strict=True))
