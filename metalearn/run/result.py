"""What a run leaves behind: result.json and test_episodes.npz, each written atomically."""

import importlib.metadata
import json
import math
import platform
import resource
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from metalearn.files import write_atomically
from metalearn.run.as_json import decode, encode
from metalearn.run.secrets import struck_out
from metalearn.stats import Estimate

PACKAGES = ("metalearn", "torch", "lightning", "hydra-core", "omegaconf", "torchmetrics", "numpy")

SCHEMA = 1
"""The number of the form of result.json; files without one are older and read as well."""

Status = Literal["completed", "failed", "interrupted", "pruned"]


@dataclass(frozen=True)
class EpisodeSetting:
    """The shape of the episodes of a split, as the config has it; way and shot may be ranges."""

    way: int | list[int]
    shot: int | list[int]
    query: int
    shots: str = "equal"
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


@dataclass(frozen=True)
class Trials:
    """The error rate over all trials, with Wilson's interval."""

    mean: float
    low: float
    high: float
    num_trials: int


@dataclass(frozen=True)
class Evaluation:
    """The scores of the episodes of meta-val or meta-test; what was not measured is None."""

    accuracy: Estimate | None = None
    mse: Estimate | None = None
    loss: Estimate | None = None
    episodes_sha256: str | None = None
    accuracy_by_step: list[float] | None = None
    accuracy_by_instance: list[float] | None = None
    mse_by_step: list[float] | None = None
    calibration_error: float | None = None
    error: Trials | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def diverged(self) -> bool:
        """Whether a score or the loss is no finite number: of such answers an accuracy is that of class 0."""
        known = (one for one in (self.accuracy, self.mse, self.loss) if one is not None)
        return any(not math.isfinite(one.mean) for one in known)


@dataclass(frozen=True)
class Published:
    """The number that an experiment is compared with."""

    accuracy: float | None = None
    mse: float | None = None
    source: str | None = None
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Seconds:
    """Seconds of the parts of a run; of adapting and predicting, the medians over the test episodes."""

    fit: float | None
    test: float | None
    adapt: float | None = None
    predict: float | None = None
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """The whole of result.json. A run that did not come so far, or was older, has None."""

    status: Status
    error: str | None
    dataset: str
    algorithm: str
    backbone: str
    experiment: str | list[str] | None
    seed: int
    task: str | None
    batch_norm: str
    transductive: bool | None
    pretrained: str | None
    episode: Episodes
    tasks_per_batch: int
    batch_size: int | None  # where training takes images of all base classes, not episodes
    trained_dataset: str | None  # another one where a checkpoint is tested on other data
    test_dataset: str | None
    published: Published | None
    overrides: list[str]
    test: Evaluation | None
    evaluations: dict[str, Evaluation] | None  # the same of other settings, by names such as 20w1s
    val: Evaluation | None
    temperature: float | None  # of the logits, by which probabilities are calibrated on meta-val
    best_step: int | None
    steps: int | None
    num_parameters: int | None
    devices: int | None
    seconds: Seconds
    peak_memory_bytes: int | None
    git: str | None
    versions: dict[str, str] | None
    more: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return _json(encode(self))

    @classmethod
    def from_json(cls, source: str | Path) -> "Result":
        """The result in a text, or in the file at a path.

        Raises ValueError, in one line that names the file, for what is no result; OSError where there is no file.
        """
        name = str(source) if isinstance(source, Path) else "the result"
        try:
            text = source.read_text() if isinstance(source, Path) else source
            fields = json.loads(text)
            schema = fields.pop("schema", SCHEMA) if isinstance(fields, dict) else SCHEMA
            if decode(int, schema, "schema") > SCHEMA:
                raise ValueError(f"its schema is {schema}, and this version of metalearn reads up to {SCHEMA}")
            result: Result = decode(cls, fields, "")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name} cannot be read: {error}") from error
        return result


class Record:
    """The result of a run, filled as the run goes on and written at its end, whatever that end is."""

    def __init__(self, folder: Path, fields: dict[str, Any]) -> None:
        self.folder, self.path = folder, folder / "result.json"
        self.fields = {
            "status": "failed",
            "error": None,
            **fields,
            "test": None,
            "evaluations": {},  # the same as test, of other settings, by names such as 20w1s
            "val": None,
            "temperature": None,
            "best_step": None,
            "steps": None,
            "skipped_batches": 0,  # because their loss was not finite
            "num_parameters": None,
            "devices": None,
            "batch_size": None,  # where training takes images of all base classes, not episodes
            "seconds": {"fit": None, "test": None},  # and the medians over the test episodes to adapt and to predict
            "peak_memory_bytes": None,
            "git": git_revision(),
            "versions": versions(),
        }

    def write(self) -> None:
        self.fields["peak_memory_bytes"] = peak_memory_bytes()
        text = _json(encode(struck_out(self.fields)))
        write_atomically(self.path, lambda file: file.write(text.encode()))

    def write_episodes(self, scores: dict[str, np.ndarray], setting: str = "") -> None:
        def save(file: IO[bytes]) -> None:
            np.savez(file, **scores)  # type: ignore[arg-type]  # its stub takes any name for allow_pickle

        from metalearn.run.machine import is_rank_zero  # late, as torch: reports need neither

        if is_rank_zero():
            name = f"test_episodes_{setting}.npz" if setting else "test_episodes.npz"
            write_atomically(self.folder / name, save)


def peak_memory_bytes() -> int:
    """Of the accelerator when there is one, else of the process."""
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        return torch.cuda.max_memory_allocated()
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes if sys.platform == "darwin" else kibibytes * 1024  # macOS counts bytes


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def git_revision() -> str | None:
    """Commit of the checkout that metalearn runs from, with -dirty when files differ; None outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _json(fields: dict[str, Any]) -> str:
    return json.dumps({"schema": SCHEMA, **fields}, indent=2) + "\n"
