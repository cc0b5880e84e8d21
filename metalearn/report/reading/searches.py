"""Reads searches: the trials of their studies and the importance of their parameters."""

import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from metalearn.formats import installing
from metalearn.report.reading.scores import SCORES, Score
from metalearn.run.directory import study_record
from metalearn.run.trials.trial import counted, directory, open_storage

if TYPE_CHECKING:  # late: an extra, and slow to import
    import optuna

State = Literal["completed", "pruned", "unfinished", "failed"]  # the best first
STATES: dict[str, State] = {"COMPLETE": "completed", "PRUNED": "pruned", "FAIL": "failed"}

FEWEST = 10
"""Fewest completed trials that give an importance of parameters."""

BEST = 5
"""Fewest trials that count as the best, as Optuna advises for PED-ANOVA."""


TASK_TIME = Score("seconds_per_task", "ms per task", factor=1000, digits=2, sign=-1, ceiling=math.inf)


class Trial(NamedTuple):
    """One choice of parameters with its result."""

    folder: Path  # run directory
    state: State
    values: tuple[float, ...]  # finite, in the order of the objectives; of a pruned trial at its last validation
    steps: int | None  # training steps up to the last validation
    params: dict[str, Any]

    @property
    def value(self) -> float | None:
        """First objective: the score at meta-val, if it is one; None where the trial has none."""
        return self.values[0] if self.values else None

    @property
    def number(self) -> int:
        return int(self.folder.name)


class Importance(NamedTuple):
    """Importance of parameters: how the best trials differ from all.

    By PED-ANOVA of Watanabe et al. 2023.
    """

    shares: dict[str, float]  # sum to one; the largest first
    num_best: int
    num_trials: int  # completed trials


@dataclass(frozen=True)
class Search:
    """Search with its trials, in the order in which they began."""

    folder: Path
    objectives: list[Score]  # the score at meta-val first, which chooses the best trial
    trials: list[Trial]
    importance: Importance | None  # None with few or equal trials, or one parameter
    on_front: set[int]  # numbers of the trials of the Pareto front; empty with one objective

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def score(self) -> Score:
        """First objective."""
        return self.objectives[0]

    @property
    def is_by_meta_val(self) -> bool:
        """Whether the first objective is of meta-val; a time is of meta-test."""
        return self.score is not TASK_TIME

    @property
    def further(self) -> list[Score]:
        """Objectives beside the score at meta-val."""
        return self.objectives[1:] if self.is_by_meta_val else self.objectives

    @property
    def has_front(self) -> bool:
        return len(self.objectives) > 1

    @cached_property
    def front(self) -> list[Trial]:
        """Trials of the Pareto front, by the first objective."""
        return [trial for trial in self.best_first if trial.number in self.on_front]

    @cached_property
    def params(self) -> list[str]:
        """Names of the parameters."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.params))

    @cached_property
    def best_first(self) -> list[Trial]:
        """Trials in the order of their states, the best first."""
        return sorted(self.trials, key=lambda trial: (get_args(State).index(trial.state), self._loss(trial)))

    @property
    def best(self) -> Trial | None:
        first = next(iter(self.best_first), None)
        return first if first and first.state == "completed" else None

    def of(self, state: State) -> list[Trial]:
        return [trial for trial in self.trials if trial.state == state]

    def _loss(self, trial: Trial) -> float:
        return math.inf if trial.value is None else -trial.value * self.score.sign


def read(folder: Path) -> Search:
    """Reads the search of a folder.

    Raises ValueError or FileNotFoundError, in one line, for an unreadable study.
    """
    try:
        return _read(folder)
    except (ValueError, OSError):
        raise
    except Exception as error:  # a damaged journal or database raises almost any error
        # The message may hold the URL of a database.
        raise ValueError(f"{folder}: its study cannot be read ({type(error).__name__})") from error


def _read(folder: Path) -> Search:
    try:
        import optuna
    except ImportError as error:
        raise ValueError(f"to read the study of {folder}, install Optuna: {installing('search')}") from error
    record = study_record.read(folder)
    try:
        study = optuna.load_study(study_name=record.study, storage=open_storage(record.storage))
    except KeyError as error:
        raise ValueError(f"the storage of {folder} has no study {record.study}") from error
    except ValueError as error:
        hint = "; a password is looked for in PGPASSWORD and ~/.pgpass" if record.storage.startswith("postgres") else ""
        raise ValueError(f"{folder}: {error}{hint}") from error
    names = study.user_attrs.get("definition", {}).get("objectives", [record.score])
    signs = [1 if direction == optuna.study.StudyDirection.MAXIMIZE else -1 for direction in study.directions]
    objectives = [_objective(name, sign) for name, sign in zip(names, signs, strict=True)]
    order = sorted(range(len(objectives)), key=lambda place: objectives[place] is TASK_TIME)
    trials = [_trial(trial, folder, order) for trial in counted(study.get_trials(deepcopy=False))]
    return Search(
        folder,
        [objectives[place] for place in order],
        trials,
        _importance(study, order[0], signs[order[0]]),
        {int(directory(trial)) for trial in study.best_trials} if len(order) > 1 else set(),
    )


def _objective(name: str, sign: int) -> Score:
    usual = next((measure for measure in (*SCORES, TASK_TIME) if measure.name == name), None)
    return usual or Score(name, name.replace("_", " "), factor=1, digits=4, sign=sign, ceiling=math.inf)


def _trial(trial: "optuna.trial.FrozenTrial", folder: Path, order: list[int]) -> Trial:
    state = STATES.get(trial.state.name, "unfinished")
    values = tuple(trial.values[place] for place in order) if trial.values and state in ("completed", "pruned") else ()
    values = values if all(map(math.isfinite, values)) else ()
    # Trials that wait to be continued have their parameters already.
    params = trial.params or trial.system_attrs.get("fixed_params", {})
    return Trial(folder / directory(trial), state, values, trial.last_step, params)


def _importance(study: "optuna.Study", objective: int, sign: int) -> Importance | None:
    """Returns the importance for one objective, of which more is better where the sign is 1."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import FrozenTrial, TrialState

    def loss(trial: FrozenTrial) -> float:
        return -sign * float(trial.values[objective])

    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    losses = sorted(map(loss, completed))
    wanted = max(BEST, math.ceil(len(losses) / 10))
    if len(losses) < FEWEST:
        return None
    num_best = sum(value <= losses[wanted - 1] for value in losses)  # more than wanted where losses are equal
    if num_best == len(losses) or len(completed[0].params) == 1:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the report states the number of trials itself
        evaluator = PedAnovaImportanceEvaluator(target_quantile=wanted / len(losses))
        shares = get_param_importances(study, evaluator=evaluator, target=loss)
    return Importance(shares, num_best, len(losses))
