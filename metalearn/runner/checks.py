"""Bad input, found before anything is trained, each kind said in one line."""

import difflib
import inspect
import os
import re
from collections.abc import Container, Iterable, Iterator
from importlib import import_module
from typing import Any, Literal, NotRequired, TypedDict, get_type_hints, is_typeddict

from typeguard import TypeCheckError, check_type

from metalearn.backbones.norm import BatchNormMode
from metalearn.episodes.lake import NUM_RUNS, SETTING
from metalearn.episodes.sampling import Shots
from metalearn.losses import Task
from metalearn.schedules import ScheduleName
from metalearn.types import SPLITS, Split

ALLOWED_TARGETS = (
    "metalearn.",
    "torch.optim.",
    "torch.nn.",
    "torchmetrics.",
    *(
        f"lightning.pytorch.{part}"
        for part in ("Trainer", "callbacks.", "loggers.", "plugins.", "profilers.", "strategies.")
    ),
)
"""A config may name classes of these packages; METALEARN_TARGETS=mypackage. in the environment allows more.

The environment, not the config: otherwise a config file from elsewhere could allow itself anything.
"""


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


def check_config(config: dict[str, Any]) -> None:
    """Raises ValueError for a value of the wrong type, an argument that a class lacks, or a foreign class."""
    _check_settings(config, Settings, "")
    if config["seed"] < 0:
        raise ValueError(f"seed is {config['seed']}; it must not be negative")
    for path, node in _nodes_with_target(config, ""):
        _check_arguments(node, path)
    if config["mode"] == "test" and not config["checkpoint"]:
        raise ValueError("mode=test needs checkpoint=PATH")
    if config["mode"] == "train" and config["checkpoint"]:
        raise ValueError("checkpoint=PATH is for mode=test; to go on with a training use resume=DIR")
    _check_protocol(config["evaluation"], config["episode"]["test"])
    _check_trainer(config["trainer"])


def check_devices(trainer: dict[str, Any], accelerators: int) -> None:
    """Raises ValueError when the trainer wants more than the `accelerators` that are present, or Apple's."""
    if trainer["accelerator"] == "mps":
        raise ValueError("trainer.accelerator=mps has no float64, which scores are kept in: trainer=cpu")
    wanted = trainer["devices"]
    count = len(wanted) if isinstance(wanted, list) else int(wanted) if str(wanted).isdigit() else 1
    if trainer["accelerator"] in ("gpu", "cuda") and count > accelerators:
        raise ValueError(f"trainer.devices={wanted} exceeds the {accelerators} GPUs present")


def _check_protocol(evaluation: dict[str, Any], test: dict[str, Any]) -> None:
    """Raises ValueError when Lake's runs are to be tested as anything that they are not."""
    if evaluation["protocol"] != "lake":
        return
    needed = [f"episode.test.{name}={value}" for name, value in SETTING.items() if test.get(name) != value]
    needed += ["evaluation.settings=[]"] if evaluation["settings"] else []
    if needed:
        raise ValueError(f"evaluation=lake is of {NUM_RUNS} given runs, for which it needs {' '.join(needed)}")


def _check_trainer(trainer: dict[str, Any]) -> None:
    if trainer["max_steps"] == 0 or trainer["max_steps"] < -1:
        raise ValueError(
            f"trainer.max_steps={trainer['max_steps']}; it must be positive, or -1 with a trainer.max_time"
        )
    if trainer["max_steps"] == -1 and trainer["max_time"] is None:
        raise ValueError("a training without limit: give trainer.max_steps or trainer.max_time")
    if not isinstance(trainer["val_check_interval"], int) or trainer["val_check_interval"] < 1:
        raise ValueError(
            f"trainer.val_check_interval={trainer['val_check_interval']} must be a positive number of batches"
        )


def check_splits(splits: Container[Split], mode: str, dataset: str) -> None:
    """Raises ValueError when a data set without meta-train and meta-val is to be trained on."""
    if mode == "train" and not all(split in splits for split in SPLITS):
        raise ValueError(f"{dataset} is for testing only: mode=test checkpoint=PATH dataset={dataset}")


def check_same_input(dataset: dict[str, Any], test_dataset: dict[str, Any]) -> None:
    """Raises ValueError when meta-test has images of another shape than those of the training."""
    own, other = dataset["input_shape"], test_dataset["input_shape"]
    if own != other:
        raise ValueError(f"test_dataset has images of {other}, the training of {own}: test_dataset.input_shape={own}")


def check_task(task: Task, images: bool, augmented: bool, dataset: str) -> None:
    """Raises ValueError when the task is not what the data set is for, or when points are to be augmented."""
    if images != (task == "classification"):
        raise ValueError(f"task={task}, but {dataset} is {'a data set of classes' if images else 'for regression'}")
    if augmented and not images:
        raise ValueError(f"augmentation is for images, and {dataset} has none")


def check_base_classes(given: int, known: int) -> None:
    """Raises ValueError when the config gives another number than the training has; 0 is one that nobody gave."""
    if given and known and given != known:
        raise ValueError(f"num_base_classes={given}, but the training has {known} classes; it need not be given")


def check_way(episode: dict[str, Any], fixed_way: int | None, algorithm: str) -> None:
    """Raises ValueError when a split has another way than the only one that an algorithm can predict."""
    for split, of_split in episode.items():
        way = of_split["way"]
        if fixed_way is not None and way != fixed_way:
            raise ValueError(
                f"{algorithm} has a linear head of {fixed_way} ways, which episode.{split}.way={way} cannot change"
            )


def check_precision(precision: Any, algorithm: str) -> None:
    """Raises ValueError for float16 where an algorithm takes gradients of its own, which no gradient scaler reaches."""
    if str(precision) in ("16", "16-mixed", "16-true"):
        raise ValueError(
            f"trainer.precision={precision} would round small gradients of {algorithm} to 0; use bf16-mixed"
        )


def nearest(name: str, names: Iterable[str]) -> str:
    """A question that names the nearest of the known names, or nothing."""
    close = difflib.get_close_matches(name, [other for other in names if other != name], n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _check_settings(node: Any, schema: type, path: str) -> None:
    for name, hint in get_type_hints(schema, include_extras=False).items():
        where = f"{path}{name}"
        if name not in node:
            if name in schema.__required_keys__:  # type: ignore[attr-defined]
                raise ValueError(f"{where} is missing")
        elif is_typeddict(hint) and isinstance(node[name], dict):
            _check_settings(node[name], hint, f"{where}.")
        else:
            _check_value(node[name], hint, where)


def _check_arguments(node: dict[str, Any], path: str) -> None:
    """Check the arguments of a `_target_` against the names and types of its signature."""
    target = _locate(node["_target_"], path)
    parameters = inspect.signature(target).parameters
    try:
        hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):  # a class of another package, whose hints do not resolve at run time
        hints = {}
    given = {name: value for name, value in node.items() if name not in ("_target_", "_partial_", "_convert_")}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, value in given.items():
        if name not in parameters and not open_ended:
            raise ValueError(f"{path}.{name}: {target.__name__} has no such argument{nearest(name, parameters)}")
        if name in hints and not (isinstance(value, dict) and "_target_" in value):
            _check_value(value, hints[name], f"{path}.{name}")
    if not node.get("_partial_"):
        for name, parameter in parameters.items():
            positional = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            if positional and parameter.default is parameter.empty and name not in given:
                raise ValueError(f"{path}.{name} is missing: {target.__name__} needs it")


def _check_value(value: Any, hint: Any, where: str) -> None:
    # YAML knows no tuples, so a list is tried as one too.
    candidates = [value, tuple(value)] if isinstance(value, list) else [value]
    for candidate in candidates:
        try:
            check_type(candidate, hint)
            return
        except TypeCheckError:
            pass
    name = getattr(hint, "__name__", "") if inspect.isclass(hint) else re.sub(r"\b[a-z_]+\.", "", str(hint))
    raise ValueError(f"{where}={value!r} is not of the type {name}")


def _locate(target: str, path: str) -> Any:
    extra = tuple(filter(None, os.environ.get("METALEARN_TARGETS", "").split(",")))
    allowed = ALLOWED_TARGETS + extra
    if not target.startswith(allowed):
        raise ValueError(f"{path}._target_={target} is refused: it is in none of {', '.join(allowed)}")
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path}._target_={target} cannot be imported: {error}") from error
    # A module of an allowed package gives access to what it imports, and a function can do anything: only classes that
    # are defined in the package count, and the functions that make our loggers.
    home = getattr(found, "__module__", "") or ""
    is_logger = inspect.isfunction(found) and home == "metalearn.runner.loggers"
    if not (inspect.isclass(found) or is_logger) or home.partition(".")[0] != target.partition(".")[0]:
        raise ValueError(f"{path}._target_={target} is refused: it is no class of {target.partition('.')[0]}")
    return found


def _nodes_with_target(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for name, child in node.items():
            yield from _nodes_with_target(child, f"{path}.{name}" if path else str(name))
    elif isinstance(node, list):
        for position, child in enumerate(node):
            yield from _nodes_with_target(child, f"{path}[{position}]")
