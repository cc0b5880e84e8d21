"""The keys of the config outside of classes, and their types."""

from types import UnionType
from typing import Any, Literal, NotRequired, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict

from metalearn.backbones.norm import Moments
from metalearn.episodes.setting import Queries, Sampling, Shots
from metalearn.losses import Problem
from metalearn.run.checks.signatures import check_value
from metalearn.run.command.names import nearest, shortened


class Part(TypedDict):
    """A class of the config; its other keys are the arguments."""

    _target_: str


class Optimizer(Part):
    _partial_: Literal[True]  # the module adds the parameters
    backbone_lr: float | None  # learning rate of the backbone, if it differs from the rest


class Scheduler(Part):
    _partial_: NotRequired[Literal[True]]  # for schedulers of torch, which need the optimizer


class Trainer(Part):
    """Arguments of Lightning's Trainer that the run reads, and further keys of a training."""

    accelerator: str
    devices: int | str | list[int]
    precision: Any
    max_steps: int
    max_epochs: int
    max_time: str | None
    limit_train_batches: Any
    val_check_interval: Any
    accumulate_grad_batches: int
    skip_nonfinite: int
    cuda_graph: bool | None


class Paths(TypedDict):
    data: str
    cache: str
    outputs: str


class Shape(TypedDict):
    way: int | list[int]  # a number, or a range [smallest, largest]
    shot: int | list[int]
    query: int
    shots: Shots
    queries: Queries


class TrainShape(Shape):
    sampling: Sampling


class EvaluationShape(Shape):
    num_episodes: int


class Shapes(TypedDict):
    train: TrainShape
    val: EvaluationShape
    test: EvaluationShape


class Evaluation(TypedDict):
    protocol: Literal["episodes", "lake"]
    settings: list[str] | None
    further: NotRequired[Part | None]  # evaluation besides the accuracy
    folds: NotRequired[int]  # number of folds of all classes
    fold: NotRequired[int]  # fold that is meta-test, from 0


class Published(TypedDict):
    accuracy: NotRequired[float]  # fraction
    mse: NotRequired[float]  # for a regression
    source: str


class Settings(TypedDict):
    """All keys of a config."""

    mode: Literal["train", "test"]
    seed: int
    problem: Problem
    train_split: Literal["train_val"] | None  # None: meta-train
    tasks_per_batch: int
    batch_size: int
    num_base_classes: int
    batch_norm: Moments
    episode: Shapes
    evaluation: Evaluation
    checkpoint: str | None
    resume: str | None
    pretrained: str | None
    published: Published | None
    paths: Paths
    dataset: Part
    test_dataset: NotRequired[Part | None]
    algorithm: Part
    backbone: Part
    augmentation: Part
    optimizer: Optimizer
    scheduler: Scheduler
    trainer: Trainer
    callbacks: dict[str, Part]
    logger: dict[str, Part]
    vars: NotRequired[dict[str, Any]]  # values of the user, for interpolation only


def check_settings(node: Any, schema: type, path: str) -> None:
    """Raises ValueError for a missing key, an unknown key, or a value of another type."""
    hints = get_type_hints(schema)
    is_part = "_target_" in hints  # its other keys are checked against a signature
    for name in node:
        if name not in hints and (not is_part or name == "_partial_"):
            raise ValueError(f"there is no key '{path}{shortened(str(name))}'{_meant(str(name), path, hints)}")
    for name, hint in hints.items():
        if name in node:
            _check_setting(node[name], hint, f"{path}{name}")
        elif name in schema.__required_keys__:  # type: ignore[attr-defined]
            raise ValueError(f"{path}{name} is missing")


def _check_setting(value: Any, hint: Any, where: str) -> None:
    if get_origin(hint) in (Union, UnionType) and value is not None:
        schemas = [choice for choice in get_args(hint) if is_typeddict(choice)]
        hint = schemas[0] if schemas else hint
    if is_typeddict(hint):
        _check_is_group(value, hint, where)
        check_settings(value, hint, f"{where}.")
    elif get_origin(hint) is dict and (of_parts := get_args(hint)[1]) is Part:
        check_value(value, dict, where)
        for name, part in value.items():
            _check_setting(part, of_parts, f"{where}.{name}")
    else:
        check_value(value, hint, where)


def _check_is_group(value: Any, schema: Any, where: str) -> None:
    if isinstance(value, dict):
        return
    if value is None and where.startswith(("callbacks.", "logger.")):
        raise ValueError(f"{where}=null: remove it with '~{where}'")
    keys = ", ".join(get_type_hints(schema))
    raise ValueError(f"{where}={shortened(repr(value))} is not a group of keys ({keys})")


def _meant(name: str, path: str, names: dict[str, Any]) -> str:
    near = nearest(name, names)
    if not near and not path:
        return "; your own values for interpolation belong under 'vars'"
    return near.replace("'", f"'{path}", 1)
