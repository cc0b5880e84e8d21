"""hydra/sweeper=basic: all combinations, as Hydra makes them; finished jobs cost no time."""

from collections.abc import Sequence
from typing import final

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from metalearn.sweep.launcher import AbstractLauncher


@final
class ProductSweeper(BasicSweeper):
    """Leaves composing to our launchers, which compose the unfinished jobs before any starts."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        if self.max_batch_size is not None and self.max_batch_size < 1:
            raise ValueError(f"hydra.sweeper.max_batch_size={self.max_batch_size} must be a positive number, or null")
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        if not isinstance(self.launcher, AbstractLauncher):
            super().validate_batch_is_legal(batch)
