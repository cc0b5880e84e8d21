"""The LightningModule: what it logs and keeps, against plain loops over the episodes."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from metalearn import MLP, ClassBank, EpisodicDataModule, FewShotModule, Prototypical, Setting
from metalearn.algorithms.gradient import InnerLoop
from metalearn.algorithms.maml import MAML
from metalearn.algorithms.parts.base_classes import BaseMean
from metalearn.algorithms.parts.execution import Execution
from metalearn.algorithms.simple_shot import SimpleShot
from metalearn.losses import OBJECTIVES, Problem, accuracy
from metalearn.stats import estimate
from metalearn.training.calibration import CalibrationError
from metalearn.training.schedules import SchedulerFactory
from metalearn.types import SPLITS, Episode, Predictor, TaskOutput


def data_of(bank: ClassBank, *, episodes: int = 6, batch_size: int | None = None) -> EpisodicDataModule:
    settings, banks = dict.fromkeys(SPLITS, Setting(3, 1, 4, num_episodes=episodes)), dict.fromkeys(SPLITS, bank)
    return EpisodicDataModule(banks, settings, seed=0, tasks_per_batch=2, batch_size=batch_size)


def module_of(bank: ClassBank, scheduler: SchedulerFactory | None = None) -> FewShotModule:
    loop = InnerLoop(steps=1, test_steps=3)
    maml = MAML(MLP(bank.images.shape[1:], hidden=[4]), way=3, inner_lr=0.4, inner_loop=loop, batch_norm="batch")
    return FewShotModule(maml, partial(torch.optim.SGD, lr=0.1), scheduler, skip_nonfinite=3)


def trainer(**limits: Any) -> pl.Trainer:
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)
    return pl.Trainer(accelerator="cpu", **limits, **quiet)


class Interrupted(pl.Callback):
    def on_test_batch_end(self, *_: Any) -> None:
        raise RuntimeError("interrupted")


class Staged(Prototypical):
    """Metric algorithm with predictors and a curve of its own; both see images."""

    stage = "shift"

    def stages(self, support_x: torch.Tensor, support_y: torch.Tensor) -> list[Predictor]:
        return [self.adapt(support_x + shift, support_y) for shift in (0.5, 0.2, 0.0)]

    def curves(self, task: Episode) -> dict[str, dict[int, torch.Tensor]]:
        return {"mean_by_axes": {task.query_x.ndim: task.query_x.mean()}}


def task_of(data: EpisodicDataModule, index: int) -> Episode:
    return data.episodes(data.collate([data.draw("test", index)]), "test").tasks()[0]


def test_a_test_is_of_the_last_inner_step_of_its_own_episodes(bank: ClassBank) -> None:
    module, costs = module_of(bank), []
    for episodes in (6, 4):  # a second test starts anew
        data, tester, error, accuracies = data_of(bank, episodes=episodes), trainer(), CalibrationError(), []
        tester.test(module, datamodule=data, verbose=False)
        for task in (task_of(data, index) for index in range(episodes)):
            logits = module.algorithm.adapt(task.support_x, task.support_y)(task.query_x)
            right = logits.argmax(1) == task.query_y.argmax(1)
            error.update(logits.double().softmax(1).amax(1), right)
            accuracies.append(right.double().mean().item())
        found = estimate(module.scores["test"]["accuracy"])
        assert found == pytest.approx(estimate(np.array(accuracies)))
        by_step = module.scores["test"]["accuracy_by_step"]
        assert by_step.shape == (episodes, 4)
        np.testing.assert_array_equal(by_step[:, -1], module.scores["test"]["accuracy"])
        logged = {name: value.item() for name, value in tester.callback_metrics.items()}
        assert logged["test/accuracy"] == pytest.approx(found.mean)
        assert logged["test/accuracy_ci95"] == pytest.approx(found.ci95)
        assert logged["test/loss"] == pytest.approx(module.scores["test"]["loss"].mean())
        assert logged["test/calibration_error"] == pytest.approx(error.compute().item())
        assert module.calibration_error == pytest.approx(error.compute().item())
        costs.append(module.cost)
    assert costs[0] is not costs[1]


def test_a_validation_leaves_no_cost(bank: ClassBank) -> None:
    module = module_of(bank)
    trainer().validate(module, datamodule=data_of(bank), verbose=False)
    assert module.cost.medians() == {}


@pytest.mark.parametrize("problem", ["classification", "regression"])
def test_an_interrupted_test_leaves_no_scores_to_the_next(problem: Problem, bank: ClassBank) -> None:
    module, data = module_of(bank), data_of(bank)
    module.algorithm.problem, module.algorithm.objective = problem, OBJECTIVES[problem]
    with pytest.raises(RuntimeError, match="interrupted"):
        trainer(callbacks=[Interrupted()]).test(module, datamodule=data, verbose=False)
    for _ in range(2):
        trainer().test(module, datamodule=data, verbose=False)
        assert len(module.scores["test"]["loss"]) == 6


def test_own_stages_and_curves_of_a_metric_algorithm_are_those_of_images(bank: ClassBank) -> None:
    staged = Staged(MLP(bank.images.shape[1:], hidden=[4]), batch_norm="running")
    module, data, tester = FewShotModule(staged, torch.optim.SGD), data_of(bank), trainer()
    tester.test(module, datamodule=data, verbose=False)
    task = task_of(data, 0)
    expected = [accuracy(predict(task.query_x), task.query_y) for predict in staged.eval().stages(*task[:2])]
    np.testing.assert_array_equal(module.scores["test"]["accuracy_by_shift"][0], expected)
    assert f"test/mean_axes_{task.query_x.ndim}" in tester.callback_metrics


@pytest.mark.parametrize(("steps", "validated"), [(4, True), (3, False)])
def test_a_checkpoint_has_the_scores_of_its_own_weights(steps: int, validated: bool, bank: ClassBank) -> None:
    module, checkpoint = module_of(bank), dict[str, Any]()
    module.num_skipped = 2
    trainer(max_steps=steps, val_check_interval=2).fit(module, datamodule=data_of(bank))
    module.on_save_checkpoint(checkpoint)
    assert ("val" in checkpoint) == ("temperature" in checkpoint) == validated
    if validated:
        expected = {name: estimate(module.scores["val"][name])._asdict() for name in ("accuracy", "loss")}
        assert checkpoint["val"] == expected
        assert checkpoint["temperature"] == module.temperature
    again = module_of(bank)
    again.on_load_checkpoint(checkpoint)
    assert again.num_skipped == 2


def test_a_checkpoint_has_no_scores_of_an_earlier_training(bank: ClassBank) -> None:
    module, checkpoint = module_of(bank), dict[str, Any]()
    for interval in (4, 8):  # the second training has no validation
        trainer(max_steps=4, val_check_interval=interval, num_sanity_val_steps=0).fit(module, datamodule=data_of(bank))
    module.on_save_checkpoint(checkpoint)
    assert "val" not in checkpoint


@pytest.mark.filterwarnings("ignore:.*your dataloader is not resumable:UserWarning")
def test_weights_of_a_finished_training_have_no_scores_of_the_module_that_loads_them(
    bank: ClassBank, tmp_path: Path
) -> None:
    module, data, checkpoint = module_of(bank), data_of(bank), dict[str, Any]()
    finished = trainer(max_steps=4, limit_val_batches=0)
    finished.fit(module_of(bank), datamodule=data)
    finished.save_checkpoint(tmp_path / "last.ckpt")
    trainer(max_steps=4, val_check_interval=4).fit(module, datamodule=data)
    trainer(max_steps=4).fit(module, datamodule=data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    module.on_save_checkpoint(checkpoint)
    assert "val" not in checkpoint


def test_a_test_has_the_base_classes_of_its_own_weights(bank: ClassBank) -> None:
    head = SimpleShot(MLP(bank.images.shape[1:], hidden=[4]), num_base_classes=bank.num_classes, batch_norm="running")
    module, data = FewShotModule(head, partial(torch.optim.SGD, lr=1.0)), data_of(bank, batch_size=8)
    trained = trainer(max_steps=3, val_check_interval=2)
    trained.fit(module, datamodule=data)
    assert isinstance(head.base, BaseMean)
    of_validation = head.base.mean.clone()
    trained.test(module, datamodule=data, verbose=False)
    of_test = head.base.mean.clone()
    trained.validate(module, datamodule=data, verbose=False)
    assert not torch.equal(of_test, of_validation) and torch.equal(of_test, head.base.mean)


def test_an_algorithm_that_takes_the_place_of_another_is_trained(bank: ClassBank) -> None:
    def interrupted(batch: Episode) -> TaskOutput:
        raise AssertionError("this loss is of an earlier algorithm")

    module, network = module_of(bank), MLP(bank.images.shape[1:], hidden=[4])
    module.algorithm = Prototypical(network, batch_norm="running")
    module.loss = interrupted  # ReplayedSteps leaves one where a training is interrupted
    before = [weight.clone() for weight in network.parameters()]
    trainer(max_steps=1).fit(module, datamodule=data_of(bank))
    assert not all(map(torch.equal, network.parameters(), before))


def test_a_plateau_counts_the_validations_of_a_training_alone(bank: ClassBank) -> None:
    module, data = module_of(bank, torch.optim.lr_scheduler.ReduceLROnPlateau), data_of(bank)
    trained = trainer(max_steps=4, val_check_interval=2, num_sanity_val_steps=1)
    trained.fit(module, datamodule=data)
    plateau = module.lr_schedulers()
    assert plateau.last_epoch == 2
    trained.validate(module, datamodule=data, verbose=False)
    assert plateau.last_epoch == 2


def test_a_test_adapts_to_each_task_alone_so_that_its_cost_can_be_measured(bank: ClassBank) -> None:
    module, data, tester = module_of(bank), data_of(bank), trainer()
    tester.validate(module, datamodule=data, verbose=False)
    assert tester.num_val_batches == [1]
    tester.test(module, datamodule=data, verbose=False)
    assert tester.num_test_batches == [6]


def test_curves_of_an_algorithm_are_logged_at_their_points(bank: ClassBank, monkeypatch: pytest.MonkeyPatch) -> None:
    module, data, tester = module_of(bank), data_of(bank), trainer()
    points = {3: "support_x", 12: "query_x"}

    def curves(task: Episode) -> dict[str, dict[int, torch.Tensor]]:
        return {"mean_by_rows": {rows: getattr(task, name).mean() for rows, name in points.items()}}

    monkeypatch.setattr(module.algorithm, "curves", curves)
    tester.test(module, datamodule=data, verbose=False)
    for rows, name in points.items():
        expected = np.mean([getattr(task_of(data, index), name).mean().item() for index in range(6)])
        assert tester.callback_metrics[f"test/mean_rows_{rows}"].item() == pytest.approx(expected, rel=1e-5)


def test_tasks_together_score_as_in_turn(bank: ClassBank) -> None:
    in_turn, together = module_of(bank), module_of(bank)
    together.algorithm.load_state_dict(in_turn.algorithm.state_dict())
    for module, vmap in ((in_turn, False), (together, True)):
        module.algorithm.execution = Execution(vmap=vmap)
        trainer().validate(module, datamodule=data_of(bank), verbose=False)
        trainer().test(module, datamodule=data_of(bank), verbose=False)
    for split, scores in in_turn.scores.items():
        for name, values in scores.items():
            np.testing.assert_allclose(together.scores[split][name], values, atol=1e-5)


def test_predictions_that_are_no_numbers_have_no_confidence(bank: ClassBank) -> None:
    module = module_of(bank)
    for weight in module.parameters():
        weight.data.fill_(torch.nan)
    trainer().test(module, datamodule=data_of(bank), verbose=False)
    assert np.isnan(module.scores["test"]["loss"]).all()
    assert module.calibration_error == pytest.approx(module.scores["test"]["accuracy"].mean())


def test_confidence_is_as_exact_as_logits_in_bfloat16_allow(bank: ClassBank) -> None:
    module, data, error = module_of(bank), data_of(bank), CalibrationError()
    trainer(precision="bf16-true").test(module, datamodule=data, verbose=False)
    for index in range(6):
        x, y, query_x, query_y = (part.bfloat16() for part in task_of(data, index))
        logits = module.algorithm.adapt(x, y)(query_x)
        error.update(logits.double().softmax(1).amax(1), logits.argmax(1) == query_y.argmax(1))
    assert module.calibration_error == pytest.approx(error.compute().item(), rel=1e-9)
