"""Exponential moving average of the weights, which is validated, kept and tested."""

from typing import final

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EMAWeightAveraging


@final
class WeightAverage(EMAWeightAveraging):
    """Lightning's moving average, in the module from the start to the end of a validation.

    Lightning exchanges the weights only around the epoch inside. The statistics of the base classes
    are computed before that epoch, and the choice of a candidate is made after it: both would be
    those of the weights that no test uses.

    Args:
        decay: weight of the average so far in each step's new average.

    Examples:
        >>> WeightAverage(decay=0.999).state_dict()
        {'latest_update_step': 0}
    """

    def __init__(self, *, decay: float) -> None:
        super().__init__(decay=decay)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pass

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pass

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)
