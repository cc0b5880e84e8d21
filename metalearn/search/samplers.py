"""Samplers of a trial's parameters: no two trials draw the same, whoever asks and whenever."""

import itertools
from collections.abc import Callable
from typing import Any, final

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from metalearn.search.space import Space, points


def make_sampler(name: str, *, space: Space, seed: int | None) -> BaseSampler:
    """Returns the sampler of a name.

    Raises ValueError for another name, or for a grid with a key of endlessly many values.
    """
    if name == "grid":
        return Grid(space)
    makers: dict[str, Callable[[int | None], BaseSampler]] = {
        # A trial that runs elsewhere counts as bad meanwhile, or jobs that start together would all
        # try the same place.
        "tpe": lambda seed: TPESampler(seed=seed, constant_liar=True),
        "random": lambda seed: RandomSampler(seed=seed),
        "cmaes": lambda seed: CmaEsSampler(seed=seed, warn_independent_sampling=False),
    }
    if name not in makers:
        raise ValueError(f"hydra.sweeper.sampler={name} must be tpe, random, grid or cmaes")
    return SeededByNumber(makers[name], seed=seed)


@final
class SeededByNumber(BaseSampler):
    """A sampler whose seed is that of the search + the number of the trial.

    So a continued search does not repeat its first trials, and controllers of one study do not
    repeat each other's.
    """

    def __init__(self, make: Callable[[int | None], BaseSampler], *, seed: int | None) -> None:
        self._make, self._seed = make, seed
        self._sampler = make(None)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self._sampler = self._make(None if self._seed is None else self._seed + trial.number)
        self._sampler.before_trial(study, trial)
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


@final
class Grid(BaseSampler):
    """All combinations, each once.

    Optuna's own sampler takes some twice when trials are enqueued or controllers are several.
    """

    def __init__(self, space: Space) -> None:
        values = dict(sorted(points(space).items()))  # the words of a command may come in any order
        self._keys, self._points = list(values), list(itertools.product(*values.values()))

    @property
    def size(self) -> int:
        return len(self._points)

    def num_drawn(self, trials: list[FrozenTrial], *, before: int) -> int:
        """Returns how many trials with a number less than `before` have drawn a point.

        A trial that continues another one has drawn none.
        """
        return sum(trial.number < before and "fixed_params" not in trial.system_attrs for trial in trials)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        drawn = self.num_drawn(study.get_trials(deepcopy=False), before=trial.number)
        # Two controllers may want the last point; the second trial is given up.
        return self._points[drawn % self.size][self._keys.index(param_name)]
