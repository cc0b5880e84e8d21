"""The study behind a search, in a journal file or a database."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf

from metalearn.run.directory.keys import is_below, node
from metalearn.run.directory.secrets import redacted
from metalearn.run.settings import settings
from metalearn.run.trials.trial import open_storage
from metalearn.search.objectives import SECONDS_PER_TASK, Objective
from metalearn.search.samplers import make_sampler
from metalearn.search.space import Space, written


def open_study(
    storage: str,
    *,
    name: str,
    objectives: Sequence[Objective],
    space: Space,
    fixed: list[str],
    composed: Mapping[str, str],
    seeds: Sequence[int] = (),
    sampler: str,
    seed: int | None,
) -> optuna.Study:
    """Returns the study, new or stored. Raises ValueError if the stored definition differs.

    Args:
        fixed: typed overrides of every trial.
        composed: settings that they compose, with the files that they name (settings_of_all).
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = [objective.direction for objective in objectives]
    study = optuna.create_study(
        study_name=name,
        storage=open_storage(storage),
        directions=directions,
        sampler=make_sampler(sampler, space=space, seed=seed),
        pruner=optuna.pruners.NopPruner(),  # the pruning is in the runs
        load_if_exists=True,
    )
    new: dict[str, Any] = {key: str(distribution) for key, distribution in space.items()}
    new |= {"overrides": sorted(fixed), "direction": directions[0], "grid": sampler == "grid"}
    names = [objective.name for objective in objectives]
    if SECONDS_PER_TASK in names:  # a study without an entry is of the score alone
        new["objectives"] = names
    if seeds:
        new["seeds"] = list(seeds)
    _check(study, "definition", new)
    _check(study, "settings", composed)
    return study


def settings_of_all(config: DictConfig, space: Space) -> dict[str, str]:
    """Returns the settings that all trials share and their numbers depend on, as texts.

    Args:
        config: composed config of a run.
        space: parameters, whose settings vary.
    """
    varied = set(map(node, space))
    plain = redacted(OmegaConf.to_container(config, resolve=False))
    return {name: repr(value) for name, value in settings(plain).items() if not is_below(name, varied)}


def enqueue_start(study: optuna.Study, start: Sequence[Mapping[str, Any]], space: Space) -> None:
    """Queues the start points that the search does not have yet as its next trials.

    Raises ValueError for a point outside of the space.
    """
    for point in start:
        for key, value in point.items():
            if key not in space:
                raise ValueError(f"hydra.sweeper.start has {key}, which the search does not vary")
            if not _contains(space[key], value):
                raise ValueError(f"hydra.sweeper.start has {key}={value}, outside of {space[key]}")
    for point in start:
        params = {key: _as_choice(space[key], value) for key, value in point.items()}
        study.enqueue_trial(params, skip_if_exists=True)  # a killed search may have queued some of them


def _check(study: optuna.Study, name: str, new: Mapping[str, Any]) -> None:
    """Records a part of the definition, or raises ValueError if another is recorded."""
    recorded = study.user_attrs.get(name)
    if recorded is None:
        study.set_user_attr(name, new)
    elif recorded != new:
        key = next(key for key in (*new, *recorded) if new.get(key) != recorded.get(key))
        raise ValueError(
            f"the study {study.study_name} is of another search: for {key} it has {recorded.get(key)}, "
            f"this command {new.get(key)}; name this one with hydra.sweep.dir=DIR"
        )


def _contains(distribution: optuna.distributions.BaseDistribution, value: Any) -> bool:
    try:
        internal = distribution.to_internal_repr(_as_choice(distribution, value))
        return distribution._contains(internal)
    except (ValueError, TypeError):
        return False


def _as_choice(distribution: optuna.distributions.BaseDistribution, value: Any) -> Any:
    """Returns a value as the space has it: choices are texts, as they are typed."""
    if not isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return value
    return value if value in distribution.choices else written(value)
