"""The study behind a search, in a journal file or a database."""

from typing import Any, Literal

import optuna

from metalearn.run.trial import open_storage
from metalearn.search.samplers import make_sampler
from metalearn.search.space import Space


def open_study(
    storage: str,
    *,
    name: str,
    direction: Literal["maximize", "minimize"],
    space: Space,
    fixed: list[str],
    sampler: str,
    seed: int | None,
) -> optuna.Study:
    """The study, new or known. Raises ValueError when it is known with another definition."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=name,
        storage=open_storage(storage),
        direction=direction,
        sampler=make_sampler(sampler, space=space, seed=seed),
        pruner=optuna.pruners.NopPruner(),  # the pruning is in the runs
        load_if_exists=True,
    )
    new: dict[str, Any] = {key: str(distribution) for key, distribution in space.items()}
    new |= {"overrides": sorted(fixed), "direction": direction, "grid": sampler == "grid"}
    known = study.user_attrs.get("definition")
    if known is None:
        study.set_user_attr("definition", new)
    elif known != new:
        key = next(key for key in (*new, *known) if new.get(key) != known.get(key))
        raise ValueError(
            f"the study {name} is of another search: for {key} it has {known.get(key)}, this command {new.get(key)}; "
            "give this one a name of its own with hydra.sweep.dir=DIR"
        )
    return study
