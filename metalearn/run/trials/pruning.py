"""Pruning of a trial: it reports each validation, and stops if other trials are better.

A trial of several seeds has a run for each, one after another. Run k reports the mean of runs 0..k
at its step, as the step k · max_steps + step of the trial. Each comparison with another trial is
thus of means over equal seeds at equal steps.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, final

import lightning.pytorch as pl

from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.validations import validation_curve
from metalearn.run.trials.trial import TrialAddress, open_storage

if TYPE_CHECKING:  # late: an extra, and slow to import
    import optuna


@final
class Pruning(pl.Callback):
    """Reports the score of each validation, and stops the training if the pruner decides so.

    Args:
        address: address of the trial.
        score: name of the score, such as "accuracy".
        folder: run directory, with the validations before an interruption.
    """

    def __init__(self, address: TrialAddress, *, score: str, folder: Path) -> None:
        self.pruned = False
        self._address, self._score, self._folder = address, score, folder
        self._trial: optuna.Trial | None = None

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        hopeless = trainer.is_global_zero and self._report(trainer)
        if trainer.strategy.reduce_boolean_decision(hopeless, all=False):
            trainer.should_stop = self.pruned = True

    def _report(self, trainer: pl.Trainer) -> bool:
        """Reports the mean so far, and returns whether to stop; after the last step it never stops.

        A limit of steps, epochs or time, or early stopping, has asked to stop by then.
        Seeds after the first report nothing without a limit of steps, or where an earlier one has
        no score at this step.
        """
        step, earlier = trainer.global_step, [self._scores(Path(folder)) for folder in self._address.earlier]
        now = {step: float(trainer.callback_metrics[f"val/{self._score}"])}
        mean = _means([*earlier, now]).get(step)
        if mean is None or (earlier and trainer.max_steps < 0):
            return False
        if self._trial is None:
            self._trial = self._open(trainer)
            self._catch_up(self._trial, earlier, trainer)
        begin = len(earlier) * trainer.max_steps
        self._trial.report(mean, begin + step)
        return not trainer.should_stop and self._is_hopeless(self._trial, begin)

    def _is_hopeless(self, trial: "optuna.Trial", begin: int) -> bool:
        """Asks the pruner; `begin` is the step of the trial at which this run began.

        Optuna's median compares the best score so far. The trained network of an earlier seed would
        be better than any at the start of this one, so the median sees the scores of this run.
        """
        if begin and self._address.pruner == "hyperband":  # it compares the first seeds
            return False
        state = trial.storage.get_trial(trial._trial_id)
        if self._address.pruner == "median":
            state = copy(state)
            state.intermediate_values = {at: value for at, value in state.intermediate_values.items() if at > begin}
        return trial.study.pruner.prune(trial.study, state)

    def _catch_up(self, trial: "optuna.Trial", earlier: list[dict[int, float]], trainer: pl.Trainer) -> None:
        """Reports the validations before this one that a continued trial lacks."""
        reported = trial.storage.get_trial(trial._trial_id).intermediate_values
        before = {step: score for step, score in self._scores(self._folder).items() if step < trainer.global_step}
        runs = [*earlier, before]
        for index in range(len(runs)):
            for step, mean in _means(runs[: index + 1]).items():
                if (step_of_trial := index * trainer.max_steps + step) not in reported:
                    trial.report(mean, step_of_trial)

    def _scores(self, folder: Path) -> dict[int, float]:
        found = validation_curve(RunFolder(folder).metrics, [self._score])
        return {row.step: row.score for row in found.validations}

    def _open(self, trainer: pl.Trainer) -> "optuna.Trial":
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = open_storage(self._address.storage)
        study = optuna.load_study(study_name=self._address.study, storage=storage, pruner=self._pruner(trainer))
        return optuna.Trial(study, self._address.trial_id)

    def _pruner(self, trainer: pl.Trainer) -> "optuna.pruners.BasePruner":
        from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

        if self._address.pruner == "hyperband":
            # Resources are steps of the first seed, from the first validation to the last step; a
            # rung behind it would compare networks at their start. Without a limit of steps, the
            # longest trial so far counts.
            least = int(max(1, trainer.val_check_batch // trainer.accumulate_grad_batches))  # type: ignore[operator]
            if trainer.max_steps < 0:
                return HyperbandPruner(min_resource=least, max_resource="auto")
            return HyperbandPruner(min_resource=min(least, trainer.max_steps), max_resource=trainer.max_steps)
        return MedianPruner() if self._address.pruner == "median" else NopPruner()


def _means(runs: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Returns the means over the runs at the steps that all of them have."""
    steps = [step for step in runs[-1] if all(step in run for run in runs)]
    return {step: sum(run[step] for run in runs) / len(runs) for step in steps}
