"""The content of result.json: only these classes know the names of its fields."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from metalearn.data.seen import Seen
from metalearn.estimates import Curve, ErrorRate, Estimate
from metalearn.run.directory.as_json import decode, encode
from metalearn.run.directory.secrets import redacted

SCHEMA = 3
"""Version of the format of result.json."""

Status = Literal["completed", "failed", "interrupted", "pruned"]


@dataclass(frozen=True)
class EpisodeSetting:
    """The shape of the episodes of a split, as in the config; way and shot may be ranges."""

    way: int | list[int]
    shot: int | list[int]
    query: int
    shots: Literal["equal", "unequal", "meta_dataset"] = "equal"
    queries: Literal["equal", "unequal"] = "equal"
    sampling: str = "uniform"  # only in meta-train
    num_episodes: int | None = None  # only in meta-val and meta-test
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
    """The score that ranks a run."""

    name: Literal["accuracy", "mse"]
    estimate: Estimate


@dataclass(frozen=True)
class Evaluation:
    """The scores of the episodes of meta-val or meta-test; None is not measured."""

    accuracy: Estimate | None = None
    mse: Estimate | None = None
    nll: Estimate | None = None  # negative log-likelihood of a regression with deviations
    coverage: Estimate | None = None  # fraction of its targets in their 95 % intervals
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
        """Reads the scores in a dictionary of a checkpoint. Raises ValueError for other values."""
        evaluation: Self = decode(cls, fields, name)
        return evaluation

    @property
    def measured(self) -> Measured | None:
        if self.accuracy is not None:
            return Measured("accuracy", self.accuracy)
        return None if self.mse is None else Measured("mse", self.mse)

    @property
    def by_step(self) -> list[float] | None:
        """Score after each inner step, from 0."""
        return self.accuracy_by_step if self.accuracy is not None else self.mse_by_step

    @property
    def diverged(self) -> bool:
        """Whether a score or the loss is not finite; NaN logits would count as class 0."""
        measured = (score for score in (self.accuracy, self.mse, self.loss) if score is not None)
        return any(not math.isfinite(score.mean) for score in measured)


@dataclass(frozen=True)
class Further:
    """The result of a further evaluation such as open_set: scores, as fractions, and a curve."""

    name: str
    scores: dict[str, Estimate]
    curve: Curve
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.curve.x) == len(self.curve.y) > 0:
            raise ValueError(f"curve has {len(self.curve.x)} x and {len(self.curve.y)} y; it needs one y for each x")


@dataclass(frozen=True)
class Published:
    """The published number of an experiment."""

    accuracy: float | None = None
    mse: float | None = None
    source: str | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def number(self, score: str) -> float | None:
        return {"accuracy": self.accuracy, "mse": self.mse}[score]


@dataclass(frozen=True)
class Seconds:
    """Seconds of the parts of a run; adapt and predict are medians over the test episodes.

    >>> Seconds(fit=10.0, test=2.5).total
    12.5
    """

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
    """The end of a run, also of a run that ended before its config was resolved."""

    status: Status
    error: str | None
    test: Evaluation | None
    val: Evaluation | None
    seconds: Seconds | None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.status in ("completed", "pruned")

    def measured(self, split: Literal["val", "test"]) -> Measured | None:
        """Returns the score at meta-val or meta-test that ranks the run, if it has one."""
        evaluation = self.val if split == "val" else self.test
        return evaluation.measured if evaluation else None

    def to_json(self) -> str:
        """Returns the text of the file, without secrets."""
        return json.dumps({"schema": SCHEMA, **redacted(encode(self))}, indent=2) + "\n"

    @classmethod
    def from_json(cls, source: str | Path) -> Self:
        """Reads a result from a text, or from the file at a path.

        Raises ValueError in one line with the file's name if the content is not a result, and
        OSError if the file is missing.
        """
        name = str(source) if isinstance(source, Path) else "the result"
        try:
            text = source.read_text() if isinstance(source, Path) else source
            fields = json.loads(text)
            schema = fields.pop("schema", SCHEMA) if isinstance(fields, dict) else SCHEMA
            if schema != SCHEMA:
                raise ValueError(f"its schema is {schema!r:.40}, and this version of metalearn reads {SCHEMA}")
            result: Self = decode(cls, fields, "")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name} cannot be read: {error}") from error
        return result


@dataclass(frozen=True, kw_only=True)
class Result(Outcome):
    """All fields of result.json; None if the run ended before that value."""

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
    pretrained_on: str | None  # data of the weights that come with the backbone
    seen_in_pretraining: Seen | None  # how many of the test classes those data hold
    episode: Episodes
    tasks_per_batch: int
    accumulate_grad_batches: int | None  # batches of a step on each device
    batch_size: int | None  # number of images, in training on batches of all base classes
    train_split: str | None  # train_val: trained on meta-train and meta-val, without a selection
    shared_classes: int | None  # number of meta-test classes that training has seen
    trained_dataset: str | None  # data set of the training, which may differ from the test's
    trained_with: list[str] | None  # settings of the training whose predictor a test replaces
    test_dataset: str | None
    published: Published | None
    overrides: list[str]
    config_sha256: str | None  # hash of the settings that runs of one mean have in common
    evaluations: dict[str, Evaluation] | None  # scores of further settings, by names such as 20w1s
    further: Further | None  # evaluation besides the accuracy
    fold: int | None  # cross-validation fold that is meta-test
    class_split: int | None  # which of the published class splits of its data set was tested
    best_step: int | None
    temperature: float | None  # divisor of the logits that calibrates probabilities on meta-val
    steps: int | None
    skipped_batches: int | None  # number of batches without a finite loss
    num_parameters: int | None
    devices: int | None
    peak_memory_bytes: int | None
    git: str | None
    versions: dict[str, str] | None
