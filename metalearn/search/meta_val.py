"""Meta-val of a search: its scores choose, so all trials must have the same episodes."""

from collections.abc import Callable, Iterator
from typing import Any, final

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from metalearn.run.settings import as_typed
from metalearn.search.space import Space, overrides

PARTS = ("dataset", "episode.val", "evaluation.folds", "evaluation.fold", "train_split")
"""Parts of a config that decide the meta-val episodes; the folds follow from the seed, too."""

FORM = ("dataset.input_shape", "dataset.encoding")
"""Form of the inputs: in another one, the episodes have the same images or texts."""


@final
class MetaVal:
    """The settings of meta-val in the first trial, which those of all others must equal.

    Args:
        compose: composes a run from its overrides.
        space: parameters that vary.
        fixed: overrides of every trial.
    """

    def __init__(self, compose: Callable[[list[str]], DictConfig], space: Space, fixed: list[str]) -> None:
        self._compose = compose
        first, *others = ([*fixed, *overrides(point)] for point in _points(space))
        self._first = _settings(compose(first))
        for other in others:
            self.check(other)

    def check(self, overrides: list[str]) -> None:
        """Raises ValueError if the overrides of a trial compose other meta-val episodes."""
        first, other = self._first, _settings(self._compose(overrides))
        for name in first | other:
            if first.get(name) != other.get(name):
                raise ValueError(
                    f"{name} is {as_typed(first.get(name))} in one trial and {as_typed(other.get(name))} in another, "
                    "so their scores are of other meta-val episodes: keep dataset, episode.val and evaluation.fold, "
                    "or compare values with hydra/sweeper=basic"
                )


def _points(space: Space) -> Iterator[dict[str, Any]]:
    """Yields points of a space: its first one, and those that differ from it in one key.

    A key has all its choices there, or its lowest and highest number.
    """
    values = {key: _values(distribution) for key, distribution in space.items()}
    first = {key: options[0] for key, options in values.items()}
    yield first
    yield from (first | {key: other} for key, options in values.items() for other in options[1:])


def _values(distribution: Any) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return [distribution.low, distribution.high]


def _settings(config: DictConfig) -> dict[str, Any]:
    """Returns the resolved settings that decide the meta-val episodes, by key."""
    parts = (*PARTS, "seed") if OmegaConf.select(config, "evaluation.folds") else PARTS
    return {key: value for part in parts for key, value in _leaves(config, part)}


def _leaves(config: DictConfig, key: str) -> Iterator[tuple[str, Any]]:
    try:
        node = OmegaConf.select(config, key)
    except OmegaConfBaseException:  # place in a run directory, which no config before the run has
        return
    if isinstance(node, DictConfig):
        for name in map(str, node):
            if f"{key}.{name}" not in FORM:
                yield from _leaves(config, f"{key}.{name}")
    else:
        yield key, OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
