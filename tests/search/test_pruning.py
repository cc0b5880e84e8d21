"""Pruning: the callback on a fake trainer, then searches of real runs."""

import json
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import optuna
import pytest
from conftest import SMALL, Finished
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.demos.boring_classes import BoringModel
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from metalearn.report.comparing import contents
from metalearn.run.trials.pruning import Pruning
from metalearn.run.trials.trial import TrialAddress, open_storage
from metalearn.training.callbacks import ValidateAtEnd

PRUNED = TrialState.PRUNED


def prefilled(folder: Path, *, key: str = "algorithm.temperature") -> optuna.Study:
    """Creates a study of five trials with impossibly good scores on the way and bad final ones."""
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=folder.name, storage=open_storage(str(folder / "study.log")), direction="maximize"
    )
    distribution = FloatDistribution(0.1, 10, log=True)
    for i in range(5):
        study.add_trial(
            create_trial(
                value=0.0,
                params={key: 1.0 + i},
                distributions={key: distribution},
                intermediate_values={2: 2.0, 4: 2.0},
            )
        )
    return study


@pytest.mark.parametrize("pruner", ["none", "median", "hyperband"])
def test_a_pruner_stops_a_training_that_is_behind(tmp_path: Path, pruner: Any) -> None:
    """Runs twelve trials, each worse than the previous one."""
    storage = str(tmp_path / "study.log")
    study = optuna.create_study(study_name="s", storage=open_storage(storage), direction="maximize")
    steps = (2, 4, 6, 8, 10, 12)
    for i in range(12):
        number = study.ask().number
        trial = study.get_trials()[number]
        callback = Pruning(
            TrialAddress(storage, "s", trial._trial_id, pruner=pruner), score="accuracy", folder=tmp_path / str(i)
        )
        trainer: Any = SimpleNamespace(
            sanity_checking=False,
            is_global_zero=True,
            max_steps=steps[-1],
            val_check_batch=2,
            accumulate_grad_batches=1,
            should_stop=False,
            callback_metrics={"val/accuracy": 0.9 - 0.05 * i},
            strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision),
        )
        for step in steps:
            trainer.global_step, trainer.should_stop = step, step == steps[-1]
            callback.on_validation_end(trainer, None)  # type: ignore[arg-type]
            assert trainer.should_stop == (callback.pruned or step == steps[-1])
            if callback.pruned:
                break
        told = study.get_trials()[number].intermediate_values
        assert told == dict.fromkeys(steps[: steps.index(step) + 1], pytest.approx(0.9 - 0.05 * i))
        assert not (callback.pruned and step == steps[-1])  # no trial is pruned at its last step
        study.tell(number, None if callback.pruned else 0.9 - 0.05 * i, state=None if not callback.pruned else PRUNED)
    states = [trial.state for trial in study.get_trials()]
    assert states[0] == TrialState.COMPLETE
    assert (PRUNED in states) == (pruner != "none")


class Hopeless(BoringModel):
    """Network whose score is 0 in each validation."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/accuracy", 0.0)


EARLY = partial(EarlyStopping, "val/accuracy", mode="max")


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
@pytest.mark.parametrize(
    ("limits", "pruned"),
    [
        ({"max_steps": 2}, False),
        ({"max_epochs": 1, "limit_train_batches": 2}, False),
        ({"max_time": timedelta(microseconds=1)}, False),
        ({"callbacks": [EARLY(stopping_threshold=-1)]}, False),
        ({"max_steps": 3}, True),
        ({"max_epochs": 2, "limit_train_batches": 2}, True),
        ({"max_time": timedelta(days=1)}, True),
        ({"callbacks": [EARLY(patience=3)]}, True),
    ],
)
def test_a_trial_is_pruned_before_its_end_alone(tmp_path: Path, limits: dict[str, Any], pruned: bool) -> None:
    """Trains behind five other trials up to the first validation, the last one or not."""
    storage = str(tmp_path / "study.log")
    study = optuna.create_study(study_name="s", storage=open_storage(storage), direction="maximize")
    for _ in range(5):
        study.add_trial(create_trial(value=1.0, intermediate_values={1: 1.0, 2: 1.0}))
    address = TrialAddress(storage, "s", study.ask()._trial_id, pruner="median")
    callback = Pruning(address, score="accuracy", folder=tmp_path)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)
    callbacks = [*limits.get("callbacks", []), ValidateAtEnd(), callback]
    usual: dict[str, Any] = {"max_epochs": -1, "accelerator": "cpu", "val_check_interval": 2, **quiet}
    pl.Trainer(**usual | limits | {"callbacks": callbacks}).fit(Hopeless())
    assert callback.pruned == pruned
    assert study.get_trials()[-1].intermediate_values == {1 if "max_time" in limits and not pruned else 2: 0.0}


def test_a_later_seed_reports_the_mean_of_all_so_far(tmp_path: Path) -> None:
    """Seeds 0 and 1 have 0.2 and 0.4 at step 2, so 0.9 of seed 2 makes the mean 0.5."""
    storage = str(tmp_path / "study.log")
    study = optuna.create_study(study_name="s", storage=open_storage(storage), direction="maximize")
    trial_id = study.ask()._trial_id
    for seed, score in enumerate((0.2, 0.4)):
        (tmp_path / f"seed{seed}").mkdir()
        (tmp_path / f"seed{seed}/metrics.csv").write_text(f"step,val/accuracy\n2,{score}\n3,\n4,{score}\n")
    earlier = [str(tmp_path / f"seed{seed}") for seed in range(2)]
    address = TrialAddress(storage, "s", trial_id, pruner="median", earlier=earlier)
    callback = Pruning(address, score="accuracy", folder=tmp_path / "seed2")
    trainer: Any = SimpleNamespace(max_steps=4, should_stop=False, callback_metrics={"val/accuracy": 0.9})
    for step in (2, 3):  # the earlier seeds have no score at step 3
        trainer.global_step = step
        assert not callback._report(trainer)
    (trial,) = study.get_trials()
    # Means of seed 0 at steps 2 and 4, of seeds 0 and 1, then of all three.
    means = {2: 0.2, 4: 0.2, 4 + 2: 0.3, 4 + 4: 0.3, 2 * 4 + 2: 0.5}
    assert trial.intermediate_values == pytest.approx(means)


def test_the_median_prunes_a_later_seed_although_the_first_was_good(tmp_path: Path) -> None:
    """Compares 0.4 and 0.6, means of two seeds, with 0.5 and 0.7 of the others at these steps.

    The first seed has no score at step 3.
    """
    storage, folder = str(tmp_path / "study.log"), tmp_path / "seed0"
    study = optuna.create_study(study_name="s", storage=open_storage(storage), direction="maximize")
    others = {2: 0.5, 4: 0.7, 6: 0.8, 8: 0.5, 10: 0.7, 12: 0.8}
    for _ in range(6):
        study.add_trial(create_trial(value=0.8, intermediate_values=others))
    folder.mkdir()
    folder.joinpath("metrics.csv").write_text("step,val/accuracy\n2,0.5\n4,0.7\n6,0.9\n")
    number = study.ask()._trial_id
    address = TrialAddress(storage, "s", number, pruner="median", earlier=[str(folder)])
    callback = Pruning(address, score="accuracy", folder=tmp_path / "seed1")
    trainer: Any = SimpleNamespace(max_steps=6, should_stop=False)
    for trainer.global_step, score, hopeless in ((2, 0.3, True), (3, 0.3, False), (4, 0.5, True)):
        trainer.callback_metrics = {"val/accuracy": score}
        assert callback._report(trainer) == hopeless
    assert len(study.get_trials()[-1].intermediate_values) == 5  # nothing is lost


def test_hyperband_prunes_in_the_first_seed_alone(tmp_path: Path) -> None:
    """Compares trials whose first seeds get worse; their second seeds begin badly."""
    storage = str(tmp_path / "study.log")
    study = optuna.create_study(study_name="s", storage=open_storage(storage), direction="maximize")
    trainer: Any = SimpleNamespace(max_steps=9, val_check_batch=1, accumulate_grad_batches=1, should_stop=False)
    hopeless = [False, False]
    for i in range(27):
        folder = tmp_path / str(i)
        folder.mkdir()
        trial = study.ask()
        for seed in range(2):
            earlier = [str(folder)] if seed else []
            address = TrialAddress(storage, "s", trial._trial_id, pruner="hyperband", earlier=earlier)
            callback = Pruning(address, score="accuracy", folder=tmp_path / f"{i}-{seed}")
            for trainer.global_step in range(1, 10):
                trainer.callback_metrics = {"val/accuracy": trainer.global_step / 10 + (0.01 if seed else -0.01) * i}
                hopeless[seed] |= callback._report(trainer)
            rows = [f"{step},{step / 10 - 0.01 * i}" for step in range(1, 10)]
            folder.joinpath("metrics.csv").write_text("\n".join(["step,val/accuracy", *rows]) + "\n")
        study.tell(trial, 0.5)
    assert hopeless == [True, False]


def test_a_continued_trial_keeps_its_best_score(tmp_path: Path) -> None:
    """Continues at step 6 with 0.1 after 0.9 at step 2, where others have 0.5 at each step."""
    storage = str(tmp_path / "study.log")
    study = optuna.create_study(study_name="s", storage=open_storage(storage), direction="maximize")
    for _ in range(6):
        study.add_trial(create_trial(value=0.5, intermediate_values=dict.fromkeys((2, 4, 6), 0.5)))
    (tmp_path / "metrics.csv").write_text("step,val/accuracy\n2,0.9\n4,0.1\n6,0.1\n")
    address = TrialAddress(storage, "s", study.ask()._trial_id, pruner="median")
    callback = Pruning(address, score="accuracy", folder=tmp_path)
    trainer: Any = SimpleNamespace(max_steps=8, global_step=6, should_stop=False)
    trainer.callback_metrics = {"val/accuracy": 0.1}
    assert not callback._report(trainer)
    assert study.get_trials()[-1].intermediate_values == pytest.approx({2: 0.9, 4: 0.1, 6: 0.1})
    retried = Pruning(address, score="accuracy", folder=tmp_path)  # in the same trial
    trainer.global_step, trainer.should_stop = 8, True
    assert not retried._report(trainer)


def test_a_search_of_real_runs_prunes_both_ranks(metalearn, tmp_path: Path) -> None:
    folder = tmp_path / "found"
    prefilled(folder)

    def search(space: str) -> Finished:
        own = (f"hydra.sweep.dir={folder}", "hydra.sweeper.n_trials=6")
        forked = ("hydra.launcher.slots=1", "hydra.launcher.preload=true")
        steps = ("trainer.val_check_interval=2", "trainer.max_steps=4")
        all_overrides = ("hydra/sweeper=optuna", *SMALL, "trainer=ddp_cpu", *steps, *own, *forked, space)
        return metalearn("-m", *all_overrides, folder=folder, small=False)

    first = search("algorithm.temperature=tag(log,interval(0.1,10))")
    assert first.code == 0, first.text
    result = json.loads((folder / "0005/result.json").read_text())
    assert (result["status"], result["steps"], result["devices"], result["test"]) == ("pruned", 2, 2, None)
    assert 0 < result["val"]["accuracy"]["mean"] < 1
    assert "5 completed, 1 pruned, 0 failed" in first.text
    (reported,) = contents.read([folder]).searches
    assert [(trial.state, trial.steps) for trial in reported.trials] == [("completed", 4)] * 5 + [("pruned", 2)]
    other = search("algorithm.temperature=interval(0,1)")
    assert other.code == 2
    assert "the study found is of another search: for algorithm.temperature" in other.text
    assert other.text.count("\n") == 1
