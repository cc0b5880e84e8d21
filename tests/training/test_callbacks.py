"""Options of the group `callbacks`, each in a run."""

import pytest
import torch
from conftest import SMALL, composed
from hydra.utils import instantiate

from metalearn import Learner
from metalearn.run.checks.trainer import check_devices

RUN = ("trainer.max_steps=12", "trainer.val_check_interval=2")


def test_early_stopping_ends_a_training_that_does_not_improve(metalearn) -> None:
    options = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1")
    finished = metalearn(*RUN, *options, "callbacks.early_stopping.min_delta=100")
    assert finished.code == 0, finished.text
    # The first validation sets the best loss, and the second one does not improve it by 100.
    assert finished.result["steps"] == 4
    assert finished.result["status"] == "completed"
    again = metalearn(f"resume={finished.folder}", folder=finished.folder, small=False)
    assert again.result["steps"] == 4
    assert "early stopping has ended this training; to train further without it: callbacks=default" in again.text


@pytest.mark.parametrize("decay", [0.0, 0.9])  # an average that keeps nothing of its past is the last weights
def test_ema_tests_averaged_weights(metalearn, decay: float) -> None:
    finished = metalearn(*RUN, "callbacks=ema", f"callbacks.ema.decay={decay}")
    assert finished.code == 0, finished.text
    checkpoint = finished.checkpoint("best")
    averaged, current = checkpoint["state_dict"], checkpoint["current_model_state"]
    changed = [name for name, value in averaged.items() if not torch.equal(value, current[name])]
    assert bool(changed) == bool(decay)


def test_a_validation_of_the_average_changes_no_training_in_double_precision(metalearn) -> None:
    double = ("callbacks=ema", "trainer.precision=64-true", "trainer=cpu")
    often, once = (metalearn(*RUN, *double, f"trainer.val_check_interval={interval}") for interval in (2, 10))
    assert often.code == once.code == 0, often.text + once.text
    for part in ("current_model_state", "state_dict"):
        for name, weights in often.checkpoint()[part].items():
            assert torch.equal(weights, once.checkpoint()[part][name]), (part, name)


def test_ema_has_the_statistics_of_the_averaged_weights(metalearn) -> None:
    """Tests the checkpoint with the mean of the base classes that its weights embed."""
    finished = metalearn(*RUN, "callbacks=ema", "algorithm=simple_shot")
    assert finished.code == 0, finished.text
    tested, current = (finished.checkpoint("best")[name] for name in ("state_dict", "current_model_state"))
    algorithm = Learner.load(finished.folder).trained.algorithm
    images = instantiate(composed(*SMALL).dataset).load()["train"].images
    averaged = algorithm.embed_each(images.float() / 255).mean(0)
    torch.testing.assert_close(tested["algorithm.base.mean"], averaged, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(current["algorithm.base.mean"], averaged, rtol=0.1, atol=0.1)


def test_ema_has_the_choice_of_the_averaged_weights(metalearn) -> None:
    rates = ("algorithm=finetune", "algorithm.lr=[0.0,0.001]", "algorithm.steps=2")
    finished = metalearn(*RUN, "callbacks=ema", *rates)
    assert finished.code == 0, finished.text
    assert finished.checkpoint("best")["state_dict"]["algorithm.rate"] in (0.0, 0.001)


@pytest.mark.parametrize("precision", ["16", 16, "16-mixed"])
def test_half_precision_is_refused_on_a_cpu(precision: str | int) -> None:
    with pytest.raises(ValueError, match=f"^trainer.precision={precision} needs a GPU: type trainer.precision=bf16"):
        check_devices({"accelerator": "auto", "devices": 1, "precision": precision}, 0)
    check_devices({"accelerator": "auto", "devices": 1, "precision": precision}, 1)
    check_devices({"accelerator": "cpu", "devices": 1, "precision": "bf16-mixed"}, 0)


def test_a_summary_lists_the_layers(metalearn) -> None:
    finished = metalearn("trainer.max_steps=1", "callbacks=model_summary")
    assert finished.code == 0, finished.text
    assert "algorithm.backbone" in finished.text
