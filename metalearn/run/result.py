"""The content of result.json: these classes alone know the names of its fields."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from metalearn.data.seen import Seen
from metalearn.run.as_json import decode, encode
from metalearn.run.secrets import struck_out
from metalearn.stats import ErrorRate, Estimate

SCHEMA = 3
"""The number of the form of result.json; files without one are older and read as well."""

Status = Literal["completed", "failed", "interrupted", "pruned"]


@dataclass(frozen=True)
class EpisodeSetting:
    """The shape of the episodes of a split, as the config has it; way and shot may be ranges."""

    way: int | list[int]
    shot: int | list[int]
    query: int
    shots: str = "equal"
    queries: str = "equal"
    num_episodes: int | None = None  # of meta-val and meta-test
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("way", self.way), ("shot", self.shot)):
            if isinstance(value, list) and len(value) != 2:
                raise ValueError(f"{name} is {value}; a range has a smallest and a largest number")


@dataclass(frozen=True)
class Episodes:
    """The settings of all splits."""

    train: EpisodeSetting
    val: EpisodeSetting
    test: EpisodeSetting


class Measured(NamedTuple):
    """The score by which a run is judged."""

    name: Literal["accuracy", "mse"]
    estimate: Estimate


@dataclass(frozen=True)
class Evaluation:
    """The scores of the episodes of meta-val or meta-test; what was not measured is None."""

    accuracy: Estimate | None = None
    mse: Estimate | None = None
    nll: Estimate | None = None  # of a regression with deviations
    coverage: Estimate | None = None  # of the 95 % intervals of the same
    loss: Estimate | None = None
    episodes_sha256: str | None = None
    accuracy_by_step: list[float] | None = None
    accuracy_by_instance: list[float] | None = None
    mse_by_step: list[float] | None = None
    calibration_error: float | None = None
    error: ErrorRate | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, fields: Any, name: str) -> Self:
        """The scores in a dictionary, such as a checkpoint has. Raises ValueError where they are something else."""
        evaluation: Self = decode(cls, fields, name)
        return evaluation

    @property
    def measured(self) -> Measured | None:
        if self.accuracy is not None:
            return Measured("accuracy", self.accuracy)
        return None if self.mse is None else Measured("mse", self.mse)

    @property
    def by_step(self) -> list[float] | None:
        """The score that is measured after each inner step, from 0."""
        return self.accuracy_by_step if self.accuracy is not None else self.mse_by_step

    @property
    def diverged(self) -> bool:
        """Whether a score or the loss is no finite number: of such answers an accuracy is that of class 0."""
        known = (one for one in (self.accuracy, self.mse, self.loss) if one is not None)
        return any(not math.isfinite(one.mean) for one in known)


@dataclass(frozen=True)
class Curve:
    """Points that a report plots."""

    x_name: str
    y_name: str
    x: list[float]
    y: list[float]


@dataclass(frozen=True)
class Further:
    """What an evaluation beside the accuracy gave, such as open_set: scores, all fractions, and a curve."""

    name: str
    scores: dict[str, Estimate]
    curve: Curve
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """The number that an experiment is compared with."""

    accuracy: float | None = None
    mse: float | None = None
    source: str | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def number(self, score: str) -> float | None:
        return {"accuracy": self.accuracy, "mse": self.mse}[score]


@dataclass(frozen=True)
class Seconds:
    """Seconds of the parts of a run; of adapting and predicting, the medians over the test episodes."""

    fit: float | None
    test: float | None
    adapt: float | None = None
    predict: float | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return (self.fit or 0.0) + (self.test or 0.0)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: all that is known of one that ended before its config was resolved."""

    status: Status
    error: str | None
    test: Evaluation | None
    val: Evaluation | None
    seconds: Seconds | None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.status in ("completed", "pruned")

    def to_json(self) -> str:
        """The text of the file, without secrets."""
        return json.dumps({"schema": SCHEMA, **struck_out(encode(self))}, indent=2) + "\n"

    @classmethod
    def from_json(cls, source: str | Path) -> Self:
        """The result in a text, or in the file at a path.

        Raises ValueError, in one line that names the file, for what is no result; OSError where there is no file.
        """
        name = str(source) if isinstance(source, Path) else "the result"
        try:
            text = source.read_text() if isinstance(source, Path) else source
            fields = json.loads(text)
            schema = fields.pop("schema", 0) if isinstance(fields, dict) else SCHEMA
            if decode(int, schema, "schema") > SCHEMA:
                raise ValueError(f"its schema is {schema}, and this version of metalearn reads up to {SCHEMA}")
            if schema < 2 and "task" in fields:
                fields["problem"] = fields.pop("task")  # its name before
            result: Self = decode(cls, fields, "")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name} cannot be read: {error}") from error
        return result


@dataclass(frozen=True, kw_only=True)
class Result(Outcome):
    """The whole of result.json. A run that did not come so far, or was older, has None."""

    seconds: Seconds
    dataset: str
    algorithm: str
    backbone: str
    experiment: str | list[str] | None
    seed: int
    problem: str | None
    batch_norm: str
    transductive: bool | None  # None until the network is built
    pretrained: str | None
    pretrained_on: str | None  # the data of the weights that the backbone came with
    seen_in_pretraining: Seen | None  # how many of the test classes those data hold
    episode: Episodes
    tasks_per_batch: int
    batch_size: int | None  # where training takes images of all base classes, not episodes
    shared_classes: int | None  # of meta-test, that were trained on
    trained_dataset: str | None  # another one where a checkpoint is tested on other data
    test_dataset: str | None
    published: Published | None
    overrides: list[str]
    evaluations: dict[str, Evaluation] | None  # the same of other settings, by names such as 20w1s
    further: Further | None  # an evaluation beside the accuracy
    fold: int | None  # of cross-validation, which meta-test is
    best_step: int | None
    temperature: float | None  # of the logits, by which probabilities are calibrated on meta-val
    steps: int | None
    skipped_batches: int | None  # because their loss was not finite
    num_parameters: int | None
    devices: int | None
    peak_memory_bytes: int | None
    git: str | None
    versions: dict[str, str] | None
