"""Keys of a config and of overrides, and their part in a result; reports read them without YAML."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

MACHINE = {f"trainer.{name}" for name in ("accelerator", "devices", "num_nodes", "strategy", "cuda_graph", "plugins")}
"""Keys by which an option of trainer chooses a machine; its other keys are of the training."""

IRRELEVANT = {
    *MACHINE,
    *("hydra", "mode", "checkpoint", "resume", "paths", "logger", "published"),
    *(f"{part}.{place}" for part in ("dataset", "test_dataset") for place in ("root", "cache", "installed", "url")),
    *("dataset.manifest", "test_dataset.manifest"),
    *(f"trainer.{name}" for name in ("log_every_n_steps", "profiler", "detect_anomaly", "num_sanity_val_steps")),
    *(f"trainer.enable_{name}" for name in ("progress_bar", "model_summary", "checkpointing")),
    *(f"callbacks.{name}" for name in ("progress", "picture", "model_summary", "save_top_k")),
    "algorithm.execution",
}
"""Keys of the machine, of places and of the screen, with all keys below them."""

NOT_HASHED = {
    *("seed", "tasks_per_batch", "episode.test"),
    *(f"evaluation.{name}" for name in ("fold", "protocol", "settings", "further")),
}
"""Keys of a run that other fields of its result have, so that one hash fits each seed and fold."""

OF_THE_TRAINING = {
    *("train_split", "episode.train", "episode.val", "batch_size", "optimizer", "scheduler", "augmentation"),
}
"""Keys of the training, which a test must not change."""

TAKEN_FROM_THE_TRAINING = {*OF_THE_TRAINING, "trainer", "callbacks"}
"""Keys that a test takes from the training of its weights, in its hash."""

OF_THE_METHOD = {"algorithm", "backbone", "batch_norm"}
"""Keys of the predictor, which a test may change, so that its weights were trained for another."""

OF_THE_WEIGHTS = {"backbone.name", "backbone.freeze", "backbone.freeze_vectors"}
"""Keys of the predictor that say where its weights come from, and which of them are trained."""


def key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def node(override: str) -> str:
    """Returns the config key of an override.

    >>> node("dataset@test_dataset=omniglot")
    'test_dataset'
    """
    group, _, package = key(override).partition("@")
    return package or group.replace("/", ".")


def is_below(key: str, parts: Collection[str]) -> bool:
    """Whether a key is one of some keys, or lies below one."""
    return key in parts or any(key[:end] in parts for end, sign in enumerate(key) if sign == ".")


def parts(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yields a config and all values in it, each with its key."""
    yield path, node
    if isinstance(node, dict):
        for name, child in node.items():
            yield from parts(child, f"{path}.{name}" if path else str(name))
    elif isinstance(node, list):
        for position, child in enumerate(node):
            yield from parts(child, f"{path}[{position}]")


def leaves(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values of a config that are no filled dictionaries, with their keys."""
    for name, child in node.items():
        if isinstance(child, Mapping) and child:
            yield from leaves(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child
