"""hydra/sweeper=optuna: a search over hyperparameters, whose trials are jobs of our launchers."""

from typing import Any, final

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from metalearn.formats import installing
from metalearn.run.trials.trial import Pruner
from metalearn.sweep.launcher import AbstractLauncher
from metalearn.sweep.settings import check_settings


@final
class OptunaSweeper(Sweeper):
    """See conf/hydra/sweeper/optuna.yaml for the arguments."""

    def __init__(
        self,
        n_trials: int,
        *,
        sampler: str,
        pruner: Pruner,
        seeds: list[int],
        objectives: list[str],
        start: list[dict[str, Any]],
        seed: int | None,
        storage: str,
        study_name: str | None,
        params: dict[str, Any],
    ) -> None:
        self.n_trials, self.sampler, self.pruner, self.seed = n_trials, sampler, pruner, seed
        self.seeds, self.objectives, self.start = seeds, objectives, start
        self.storage, self.study_name = storage, study_name
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Searches to the end.

        Raises ValueError for bad input, SystemExit after a signal, JobFailed when it gives up.
        """
        if not isinstance(self.launcher, AbstractLauncher):
            raise ValueError("hydra/sweeper=optuna runs its trials with hydra/launcher=subprocess, slurm or ray")
        check_settings(self, self.launcher.config, "hydra.sweeper")
        if self.n_trials < 1:
            raise ValueError(f"hydra.sweeper.n_trials={self.n_trials} must be a positive number")
        if self.launcher.leave is not None:
            raise ValueError("a search waits for its trials, to choose the next: leave out hydra.launcher.wait=false")
        self._check_combinations()
        try:
            import optuna  # noqa: F401
        except ImportError as error:
            raise ValueError(f"hydra/sweeper=optuna needs Optuna: {installing('search')}") from error
        from metalearn.search.search import search

        search(self, self.launcher, arguments)

    def _check_combinations(self) -> None:
        """Raises ValueError for settings that exclude each other."""
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"hydra.sweeper.seeds={self.seeds} has a seed twice")
        if min(self.seeds, default=0) < 0:
            raise ValueError(f"hydra.sweeper.seeds={self.seeds} has a negative seed")
        if self.start and self.sampler == "grid":
            raise ValueError("hydra.sweeper.sampler=grid runs all points: leave out hydra.sweeper.start")
        if "seconds_per_task" in self.objectives and self.pruner != "none":
            raise ValueError(
                f"hydra.sweeper.pruner={self.pruner} compares scores at meta-val, not seconds_per_task: "
                "give hydra.sweeper.pruner=none"
            )
        if len(self.objectives) > 1 and self.sampler == "cmaes":
            raise ValueError("hydra.sweeper.sampler=cmaes has one objective: take tpe, random or grid")
