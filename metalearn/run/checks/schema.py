"""The keys of the config that belong to no class, and their types."""

from typing import Any, Literal, NotRequired, TypedDict, get_type_hints, is_typeddict

from metalearn.backbones.norm import BatchNormMode
from metalearn.episodes.sampling import Shots
from metalearn.losses import Task
from metalearn.run.checks.signatures import check_value
from metalearn.training.schedules import ScheduleName


class Shape(TypedDict):
    way: int | list[int]  # a number, or the smallest and the largest of a range
    shot: int | list[int]
    query: int
    num_episodes: NotRequired[int]
    shots: Shots


class Shapes(TypedDict):
    train: Shape
    val: Shape
    test: Shape


class Evaluation(TypedDict):
    protocol: Literal["episodes", "lake"]
    settings: list[str]


class Published(TypedDict):
    accuracy: float  # a fraction
    source: str


class Settings(TypedDict):
    """The keys of the config that belong to no class."""

    mode: Literal["train", "test"]
    seed: int
    task: Task
    schedule: ScheduleName
    tasks_per_batch: int
    batch_size: int
    num_base_classes: int
    batch_norm: BatchNormMode
    episode: Shapes
    evaluation: Evaluation
    checkpoint: str | None
    resume: str | None
    pretrained: str | None
    published: Published | None


def check_settings(node: Any, schema: type, path: str) -> None:
    """Raises ValueError when a key of the schema is missing, or of another type."""
    for name, hint in get_type_hints(schema, include_extras=False).items():
        where = f"{path}{name}"
        if name not in node:
            if name in schema.__required_keys__:  # type: ignore[attr-defined]
                raise ValueError(f"{where} is missing")
        elif is_typeddict(hint) and isinstance(node[name], dict):
            check_settings(node[name], hint, f"{where}.")
        else:
            check_value(node[name], hint, where)
