"""Facts of a run in each of its checkpoints, with which later runs and learners use its weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from metalearn.run.directory.as_json import decode

FACTS = "metalearn"
"""Key of the facts in a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The run that trained the weights of a checkpoint."""

    dataset: str
    algorithm: str
    backbone: str
    overrides: list[str]  # typed overrides, with absolute paths
    built: dict[str, Any]  # resolved config of the algorithm, which builds the network
    preparation: dict[str, Any] | None  # form of new images or texts, if the data set states it
    num_base_classes: int
    classes: list[str]  # names of the training classes of the weights, of this and earlier runs
    vocabulary: str | None  # identity of the tokens of texts
    columns: list[str]  # columns of a table; empty for other data
    settings: dict[str, Any]  # settings that the numbers depend on, references unresolved
    restored: dict[str, Any]  # settings that the state of the training restores
    accumulate_grad_batches: int
    devices: int | None = None  # None until the training begins

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> Self:
        """Reads the facts in a checkpoint. Raises ValueError for missing ones and wrong types."""
        origin: Self = decode(cls, checkpoint[FACTS], "")
        return origin

    @classmethod
    def untrained(
        cls, *, dataset: str, algorithm: str, backbone: str, built: dict[str, Any], preparation: dict[str, Any] | None
    ) -> Self:
        """Returns the facts of weights that no run has trained."""
        return cls(
            dataset=dataset,
            algorithm=algorithm,
            backbone=backbone,
            overrides=[],
            built=built,
            preparation=preparation,
            num_base_classes=0,
            classes=[],
            vocabulary=None,
            columns=[],
            settings={},
            restored={},
            accumulate_grad_batches=1,
        )

    @property
    def choices(self) -> dict[str, str]:
        """Option of each group that the network and its data come from."""
        return {"dataset": self.dataset, "algorithm": self.algorithm, "backbone": self.backbone}

    @property
    def network(self) -> str:
        return f"{self.algorithm} on {self.backbone}"

    @property
    def began_with_a_file(self) -> bool:
        """Whether the backbone began with a file, of word vectors or weights."""
        backbone = self.built.get("backbone") or {}
        return any(backbone.get(name) for name in ("vectors", "weights"))

    def facts(self) -> dict[str, Any]:
        """Returns the facts in plain containers, so that a checkpoint loads with weights_only."""
        return asdict(self)
