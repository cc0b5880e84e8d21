"""Bad input: refused before training, in one line, with exit code 2."""

import pytest
import torch
from conftest import resolved

from metalearn.run.checks import check_config
from metalearn.run.checks.names import nearest
from metalearn.run.checks.rules import check_devices
from metalearn.run.machine import accelerator

LAKE = ["dataset=omniglot", "evaluation=lake"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["episode.train.way=five"], "episode.train.way='five' is not of the type int"),
        (["trainer.max_steps=many"], "trainer.max_steps='many' is not of the type int"),
        (["algorithm=maml", "algorithm.inner_lr=fast"], "algorithm.inner_lr='fast' is not of the type float"),
        (["batch_norm=none"], "batch_norm='none' is not of the type Literal\\['running', 'support', 'batch'\\]"),
        (["+algorithm.warmth=2"], "algorithm.warmth: Prototypical has no such argument"),
        (["+backbone.chanels=2"], "backbone.chanels: Conv4 has no such argument; did you mean 'channels'\\?"),
        (["~backbone.input_shape"], "backbone.input_shape is missing: Conv4 needs it"),
        (["~episode.val.way"], "episode.val.way is missing"),
        (["trainer.max_steps=0"], "trainer.max_steps=0; it must be positive"),
        (["trainer.max_steps=-1"], "a training without limit"),
        (["trainer.val_check_interval=0"], "must be a positive number of batches"),
        (["checkpoint=some.ckpt"], "checkpoint=PATH is for mode=test"),
        (["mode=test"], "mode=test needs checkpoint=PATH"),
        ([*LAKE, "episode.test.way=5"], "it needs episode.test.way=20$"),
        ([*LAKE, "episode.test.num_episodes=600"], "it needs episode.test.num_episodes=20$"),
        ([*LAKE, "episode.test.shots=unequal", "episode.test.query=15"], "query=1 episode.test.shots=equal$"),
        ([*LAKE, "evaluation.settings=[5w1s]"], r"it needs evaluation.settings=\[\]$"),
        (["evaluation.protocol=lake"], "evaluation=lake is of 20 given runs, .*way=20 .*query=1 .*num_episodes=20$"),
    ],
)
def test_a_bad_config_is_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        check_config(resolved(*overrides))
    assert "\n" not in str(raised.value)


def test_the_protocol_of_lake_is_accepted_as_it_is() -> None:
    check_config(resolved(*LAKE, "evaluation.settings=[]", "episode.test.way=20", "dataset.split=lake_small1"))


def test_lists_serve_as_tuples() -> None:
    check_config(resolved("+optimizer.betas=[0.9,0.99]"))
    with pytest.raises(ValueError, match=r"optimizer.betas='no'"):
        check_config(resolved("+optimizer.betas=no"))


def test_more_devices_than_present() -> None:
    trainer = resolved("trainer=gpu", "trainer.devices=4")["trainer"]
    with pytest.raises(ValueError, match="trainer.devices=4 exceeds the 1 GPUs present"):
        check_devices(trainer, accelerators=1)
    check_devices(trainer, accelerators=4)


@pytest.mark.parametrize(("present", "taken"), [(True, "cpu"), (False, "auto")])
def test_the_gpu_of_apple_is_not_taken(present: bool, taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: present)
    assert accelerator("auto") == taken
    assert accelerator("cuda") == "cuda"
    with pytest.raises(ValueError, match=r"^trainer.accelerator=mps has no float64"):
        check_devices({"devices": 1, "accelerator": "mps"}, accelerators=0)


def test_nearest_says_nothing_when_nothing_is_near() -> None:
    assert nearest("way", ["shot", "ways"]) == "; did you mean 'ways'?"
    assert nearest("xyz", ["shot", "ways"]) == ""


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["episode.train.wey=3"], "there is no key 'episode.train.wey'; did you mean 'episode.train.way'?"),
        (["episode.test.way=50"], "way 50 exceeds the 8 classes of split 'test'"),
        (
            ["dataset=omniglot", "paths.data=${hydra:runtime.output_dir}/nowhere", "dataset.url=http://127.0.0.1:9"],
            "images_background is missing",
        ),
        (["algorithm=maml", "episode.test.way=4"], "which episode.test.way=4 cannot change"),
        ([*LAKE, "episode.test.way=5"], "evaluation=lake is of 20 given runs, for which it needs episode.test.way=20"),
        (["algorithm=maml", "trainer.precision=16-mixed"], "would round small gradients of maml to 0"),
        (["algorithm=reptile", "trainer.precision=16"], "would round small gradients of reptile to 0"),
        (
            ["algorithm=triplet", "algorithm.finetune_steps=1", "trainer.precision=16-mixed"],
            "would round small gradients of triplet to 0",
        ),
        (["seed=-1"], "seed is -1; it must not be negative"),
        (["tasks_per_batch=0"], "tasks_per_batch is 0; it must be at least 1"),
        (["episode.val.num_episodes=0"], "episode.val.num_episodes is 0; it must be at least 1"),
        (["optimizer.lr=-1"], "Invalid learning rate"),
        (["algorithm=maml", "algorithm.inner_loop.steps=-1"], "steps=-1"),
        (["trainer=ddp_cpu", "episode.val.num_episodes=1"], "2 processes need as many meta-val"),
        (["+paths.api_token=abc"], "looks like a secret"),
        (["~seed"], "seed is missing"),
        (["paths.outputs=${oc.env:NOPE}", "hydra.run.dir=${paths.outputs}"], "NOPE"),
        (["trainer.devices=0"], "`Trainer(devices=0)` value is not a valid input"),
        (["mode=test", "checkpoint=nowhere.ckpt"], "there is no checkpoint nowhere.ckpt"),
        (["resume=nowhere"], "cannot resume nowhere: it has no checkpoints/last.ckpt"),
        (["backbone.channels=many"], "backbone.channels='many' is not of the type int"),
    ],
)
def test_the_command_says_one_line_and_exits_with_2(metalearn, overrides: list[str], message: str) -> None:
    finished = metalearn(*overrides, small="dataset=omniglot" not in overrides)
    assert finished.code == 2
    (line,) = finished.text.strip().splitlines()
    assert line.startswith("metalearn: ")
    assert message in line
