"""What happens beside the training itself: the last validation, and the seconds so far."""

import time
from typing import Any

import lightning.pytorch as pl


class ValidateAtEnd(pl.Callback):
    """Validate after the last step too, so that the last weights can be the best ones."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True  # Lightning validates when it is asked to stop


class Clock(pl.Callback):
    """Log the seconds of training so far with every validation, as "val/seconds"; a resumed run goes on counting."""

    def __init__(self) -> None:
        self.seconds_before, self._began = 0.0, 0.0

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self._began

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._began = time.monotonic()

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        module.log("val/seconds", self.seconds, rank_zero_only=True)

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds_before = state_dict["seconds"]
