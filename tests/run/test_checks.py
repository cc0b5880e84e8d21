"""Bad input is refused before training, in one line, with exit code 2."""

import os

import pytest
import torch
from conftest import resolved
from odd_values import odd_lines, refusal

from metalearn.run.checks.config import check_config
from metalearn.run.checks.continued import check_optimizer
from metalearn.run.checks.inputs import check_same_input, check_splits, check_text
from metalearn.run.checks.trainer import check_devices, check_precision
from metalearn.run.command.names import nearest
from metalearn.run.process.machine import accelerator
from metalearn.types import Split

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
        (["trainer.max_steps=-1"], "the training has no limit"),
        (["trainer.max_time=00:00:00:00"], "max_time=00:00:00:00; it must be DD:HH:MM:SS above 0"),
        (["trainer.max_time=90m"], "max_time=90m; it must be DD:HH:MM:SS above 0, such as 00:01:30:00$"),
        (["+trainer.max_time.minutes=3", "trainer.max_steps=2"], "max_time={'minutes': 3} is not of the type str"),
        (["trainer.val_check_interval=0"], "must be a positive number of batches"),
        (
            ["trainer.max_epochs=5"],
            "trainer.max_epochs=5: .* give trainer.max_steps=N, or trainer.limit_train_batches=N",
        ),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0; it must be positive"),
        (
            ["trainer.limit_train_batches=0"],
            "trainer.limit_train_batches=0 must be a positive whole number: episodes have no end",
        ),
        (
            ["trainer.limit_train_batches=0.5"],
            "limit_train_batches=0.5 must be a positive whole number: episodes have no end",
        ),
        (["trainer.limit_val_batches=0"], "limit_val_batches=0 is refused: .* episode.val.num_episodes=5$"),
        (["trainer.limit_val_batches=5"], "limit_val_batches=5 is refused: .* episode.val.num_episodes=5$"),
        (["trainer.limit_test_batches=0.5"], "limit_test_batches=0.5 is refused: .* episode.test.num_episodes=5$"),
        (["dataset@test_dataset=clinc150"], "has images and test_dataset texts: choose two data sets of one kind$"),
        (["dataset@test_dataset=gp"], "has images and test_dataset functions: choose two data sets of one"),
        (["dataset@test_dataset=table"], "has images and test_dataset tables: choose two data sets of one kind$"),
        (["trainer.limit_test_batches=0.0"], "limit_test_batches=0.0 is refused: .* episode.test.num_episodes=5$"),
        (["+trainer.fast_dev_run=true"], "fast_dev_run=True is refused: .* a run of a few steps is debug=default$"),
        (["+trainer.overfit_batches=3"], "overfit_batches=3 is refused"),
        (["+trainer.barebones=true"], "barebones=True is refused"),
        (["+trainer.enable_checkpointing=false"], "enable_checkpointing=false is refused: the best checkpoint is"),
        (["trainer.check_val_every_n_epoch=1"], "validation is counted in batches: trainer.val_check_interval=N$"),
        (["trainer.accumulate_grad_batches=0", "trainer.val_check_interval=1"], "=0; it must be at least 1$"),
        (
            ["trainer.accumulate_grad_batches=2", "trainer.val_check_interval=5"],
            "val_check_interval=5 ends within a step of trainer.accumulate_grad_batches=2 .* such as 6$",
        ),
        (["trainer.skip_nonfinite=-1"], "trainer.skip_nonfinite=-1; it must not be negative"),
        (["trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val=-1; it must not be negative"),
        (["trainer.skip_nonfinite=few"], "trainer.skip_nonfinite='few' is not of the type int"),
        (
            ["+callbacks.swa={_target_:lightning.pytorch.callbacks.StochasticWeightAveraging,swa_lrs:0.1}"],
            "callbacks.swa: StochasticWeightAveraging averages weights .* validation: use callbacks=ema",
        ),
        (
            ["+callbacks.mean._target_=lightning.pytorch.callbacks.EMAWeightAveraging"],
            "callbacks.mean: .* averages weights that are not those of the validation: use callbacks=ema",
        ),
        (
            ["callbacks=ema", "trainer.precision=bf16-true"],
            "trainer.precision=bf16-true would round the average of callbacks.ema: use bf16-mixed",
        ),
        (
            ["algorithm=siamese", "algorithm._target_=metalearn.algorithms.metric.AbstractMetric"],
            "^algorithm: AbstractMetric leaves out the method compare$",
        ),
        (
            ["algorithm={_target_:torch.nn.Identity}"],
            r"^algorithm: Identity does not derive from metalearn\.algorithms\.base\.AbstractAlgorithm$",
        ),
        (["+callbacks.x._target_=torch.nn.ReLU"], r"^callbacks.x: ReLU does not derive from .*\.Callback$"),
        (
            ["+evaluation.further._target_=metalearn.training.evaluations.base.AbstractEvaluation"],
            "^evaluation.further: AbstractEvaluation leaves out the method __call__$",
        ),
        (
            ["dataset={_target_:torch.nn.Identity,input_shape:[1,28,28]}"],
            "^dataset: Identity has no load, which it needs",
        ),
        (["trainer=ddp_cpu", "++trainer.strategy=ddp_spawn"], "ddp_spawn is refused: .* use trainer.strategy=ddp$"),
        (["+trainer.profiler=simple"], "^trainer.profiler=simple is refused: .* debug=profiler$"),
        (["+tasks_per_bach=4"], "there is no key 'tasks_per_bach'; did you mean 'tasks_per_batch'\\?$"),
        (["++episodes.train.way=3"], "there is no key 'episodes'; did you mean 'episode'\\?$"),
        (["+path.data=/x"], "there is no key 'path'; did you mean 'paths'\\?$"),
        (["+mine=4"], "there is no key 'mine'; your own values for interpolation belong under 'vars'$"),
        (["+paths.dta=/x"], "there is no key 'paths.dta'; did you mean 'paths.data'\\?$"),
        (["+episode.train.ways=3"], "there is no key 'episode.train.ways'; did you mean 'episode.train.way'\\?$"),
        (["+evaluation.lake=3"], "there is no key 'evaluation.lake'$"),
        (
            ["published={acuracy:0.5,source:x}"],
            "there is no key 'published.acuracy'; did you mean 'published.accuracy'",
        ),
        (["callbacks.picture=null"], "callbacks.picture=null: remove it with '~callbacks.picture'$"),
        (["callbacks.picture=1."], r"callbacks.picture=1.0 is not a group of keys \(_target_\)$"),
        (["~dataset._target_"], "dataset._target_ is missing"),
        (["optimizer._target_={a:1}"], "optimizer._target_={'a': 1} is not of the type str"),
        (["~trainer.max_steps"], "trainer.max_steps is missing"),
        (["+dataset._partial_=true"], "there is no key 'dataset._partial_'$"),
        (["~seed"], "seed is missing"),
        (["seed=-1"], "seed is -1; it must be from 0 to 4294967295"),
        (["seed=4294967296"], "seed is 4294967296; it must be from 0 to 4294967295"),
        (["algorithm=snail", "episode.train.way=[5,7]"], r"algorithm.way=\[5, 7\] is not of the type int"),
        (["backbone.input_shape=[3,28,28]"], r"input_shape=\[3, 28, 28\] is not that of the data set, \[1, 28, 28\]"),
        (["backbone=resnet12", "backbone.widths=[4,8,8,8.5]"], r"widths=\[4, 8, 8, 8.5\] is not of the type Sequence"),
        (["episode.train.shot=[1,x]"], r"episode.train.shot=\[1, 'x'\] is not of the type int"),
        (["callbacks=early_stopping", "callbacks.early_stopping.monitor=val/accuracy"], "early_stopping.mode to max$"),
        (
            ["callbacks=save_top_k", "callbacks.save_top_k.monitor=val/mse"],
            "but this run has accuracy: .*val/accuracy$",
        ),
        (
            ["dataset=gp", "callbacks=early_stopping", "callbacks.early_stopping.monitor=val/accuracy"],
            "early_stopping watches val/accuracy, but this run has mse: set .*monitor to val/mse$",
        ),
        (
            ["callbacks=early_stopping", "callbacks.early_stopping.monitor=val/acc"],
            "early_stopping watches val/acc, which no run logs: set .*monitor to val/accuracy or val/loss$",
        ),
        (
            ["callbacks=save_top_k", "callbacks.save_top_k.filename=best"],
            "save_top_k would overwrite best.ckpt of the run: set callbacks.save_top_k.dirpath to another folder$",
        ),
        (["callbacks=save_top_k", "+callbacks.save_top_k.save_last=true"], "would overwrite last.ckpt of the run: "),
        (
            [
                "callbacks=save_top_k",
                "callbacks.save_top_k.filename=last",
                "callbacks.save_top_k.dirpath=out/x/../checkpoints",
            ],
            "would overwrite last.ckpt of the run: ",
        ),
        (["callbacks=save_top_k", "callbacks.save_top_k.mode=max"], "save_top_k watches val/loss: .*mode to min$"),
        (
            [
                "+callbacks.a._target_=lightning.pytorch.callbacks.GradientAccumulationScheduler",
                "+callbacks.a.scheduling={}",
            ],
            "callbacks.a: GradientAccumulationScheduler .* use trainer.accumulate_grad_batches$",
        ),
        (
            ["trainer.accumulate_grad_batches=2", "trainer.limit_train_batches=3"],
            "limit_train_batches=3 ends an epoch within a step .* such as 4$",
        ),
        (["seed=[0,1]"], r"seed=\[0, 1\] is not of the type int"),
        (["seed=true"], "^seed=True is not of the type int$"),
        (["optimizer._target_=torch.optim.LBFGS", "~optimizer.weight_decay"], "LBFGS computes the loss several times"),
        (
            ["optimizer._target_=torch.optim.SparseAdam", "~optimizer.weight_decay"],
            "^optimizer: SparseAdam takes sparse gradients alone: use optimizer=adam, adamw or sgd$",
        ),
        (["optimizer.lr=true"], "^optimizer.lr=True is not of the type"),
        (["episode.train.way=[true,5]"], r"episode.train.way=\[True, 5\] is not of the type int"),
        (["+evaluation.fold=2"], "evaluation.fold alone is not a cross-validation: type evaluation=crossval"),
        (["+evaluation.folds=5"], "evaluation.folds alone is not a cross-validation: type evaluation=crossval"),
        (["+episode.test.sampling=hard"], "there is no key 'episode.test.sampling'"),
        (["+episode.train.num_episodes=50"], "there is no key 'episode.train.num_episodes'"),
        (
            ["dataset=table", "augmentation=natural"],
            "augmentation is for images, but Table has tables: use aug",
        ),
        (["dataset=sinusoid", "backbone.input_shape=[2]"], r"backbone.input_shape=\[2\] is not that of the data set, "),
        (["dataset=clinc150", "backbone.num_tokens=20"], "num_tokens=20 is not that of the encoding, 50000: leave it"),
        (["batch_norm=[]"], r"batch_norm=\[\] is not of the type Literal"),
        ([f"batch_norm={'x' * 9999}"], r"^batch_norm='x{50,120}\.\.\. is not of the type Literal"),
        (["checkpoint=some.ckpt"], "checkpoint=PATH is for mode=test"),
        ([*LAKE, "episode.test.way=5"], "given runs: type episode.test.way=20$"),
        ([*LAKE, "episode.test.num_episodes=600"], "given runs: type episode.test.num_episodes=20$"),
        ([*LAKE, "episode.test.shots=unequal", "episode.test.query=15"], "query=1 episode.test.shots=equal$"),
        ([*LAKE, "evaluation.settings=[5w1s]"], r"given runs: type evaluation.settings=\[\]$"),
        ([*LAKE, "evaluation.settings=null"], r"given runs: type evaluation.settings=\[\]$"),
        (
            ["dataset=omniglot", "evaluation.protocol=lake"],
            "evaluation=lake has 20 given runs: type .*way=20 .*query=1 .*num_episodes=20 .*settings=\\[\\]$",
        ),
        (["evaluation=lake"], "evaluation=lake has runs of Omniglot alone: type dataset=omniglot$"),
    ],
)
def test_a_bad_config_is_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        check_config(resolved(*overrides))
    assert "\n" not in str(raised.value)


def test_the_protocol_of_lake_is_accepted_as_it_is() -> None:
    check_config(resolved(*LAKE, "evaluation.settings=[]", "episode.test.way=20", "dataset.split=lake_small1"))


@pytest.mark.parametrize(
    "overrides",
    [
        ["+vars={width: 8}", "backbone.channels=${vars.width}"],
        ["trainer.max_epochs=2", "trainer.limit_train_batches=5"],
        ["trainer.skip_nonfinite=3"],
        ["trainer.skip_nonfinite=3", "trainer.devices=[0]"],
        ["trainer.skip_nonfinite=3", "trainer=cpu", "trainer.devices=auto"],
        ["trainer.accumulate_grad_batches=4", "trainer.val_check_interval=8"],
        ["callbacks=ema", "trainer.precision=bf16-mixed"],
        ["callbacks=save_top_k", "callbacks.save_top_k.filename=best", "callbacks.save_top_k.dirpath=backup"],
        ["callbacks=save_top_k", "callbacks.save_top_k.filename=best", "callbacks.save_top_k.dirpath=own/checkpoints"],
        ["callbacks=save_top_k", "callbacks.save_top_k.monitor=epoch", "callbacks.save_top_k.mode=max"],
        ["callbacks=early_stopping", "callbacks.early_stopping.monitor=train_val/loss", "train_split=train_val"],
        ["debug=profiler"],
        ["dataset@test_dataset=mnist"],
        ["dataset=clinc150", "dataset@test_dataset=liu"],
        ["dataset=sinusoid", "dataset@test_dataset=gp"],
        ["dataset=completion", "dataset@dataset.images=mnist"],
        ["dataset=sinusoid", "published={mse:0.1,source:x}"],
    ],
)
def test_these_are_no_mistakes(overrides: list[str]) -> None:
    check_config(resolved(*overrides))


@pytest.mark.parametrize("number", range(int(os.environ.get("METALEARN_FUZZ", "30"))))
def test_odd_values_are_refused_in_words_or_accepted(number: int) -> None:
    (line,) = odd_lines(seed=number, count=1)
    assert refusal(line) != ""


def test_lists_serve_as_tuples() -> None:
    check_config(resolved("+optimizer.betas=[0.9,0.99]"))
    with pytest.raises(ValueError, match=r"optimizer.betas='no'"):
        check_config(resolved("+optimizer.betas=no"))


@pytest.mark.parametrize(
    ("overrides", "present", "message"),
    [
        (["trainer.devices=-1"], 0, "trainer.devices=-1 names a GPU, but this machine has none"),
        (["trainer.devices=[0]"], 0, r"trainer.devices=\[0\] names a GPU, but this machine has none"),
        (["trainer.devices=2"], 0, "trainer.devices=2 exceeds the 0 GPUs present; on the CPU use trainer=ddp_cpu"),
        (["trainer.devices=0"], 1, "trainer.devices=0; it must be at least 1"),
        (["trainer.devices=[0,1]"], 1, "exceeds the 1 GPUs"),
        (["trainer=cpu", "trainer.devices=-1"], 1, "names a GPU; on a CPU, give a number of processes"),
    ],
)
def test_devices_that_are_not_there(overrides: list[str], present: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_devices(resolved(*overrides)["trainer"], present)


def test_devices_that_are_there() -> None:
    for devices in ("-1", "auto", "[1]", "2"):
        check_devices(resolved(f"trainer.devices={devices}")["trainer"], 2)
    check_devices(resolved("trainer=ddp_cpu")["trainer"], 0)


def test_another_optimizer_does_not_resume_the_state_of_one() -> None:
    weights = [torch.zeros(1)]
    adam, sgd = torch.optim.Adam(weights), torch.optim.SGD(weights)
    check_optimizer(adam.state_dict(), torch.optim.Adam(weights, lr=0.5))
    with pytest.raises(ValueError, match="^resume: .* of another optimizer than SGD: .* pretrained=CHECKPOINT$"):
        check_optimizer(adam.state_dict(), sgd)


@pytest.mark.parametrize("precision", [16, "16-true", "16-mixed"])
def test_half_precision_is_refused_by_what_takes_small_gradients(precision: int | str) -> None:
    with pytest.raises(ValueError, match=f"trainer.precision={precision} would round small gradients of reptile to 0"):
        check_precision(precision, "reptile")


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
        (["algorithm=maml", "trainer.precision=16-true"], "would round small gradients of maml to 0"),
        (
            ["algorithm=triplet", "algorithm.finetune_steps=1", "trainer.precision=16-true"],
            "would round small gradients of triplet to 0",
        ),
        (["tasks_per_batch=0"], "tasks_per_batch is 0; it must be at least 1"),
        (["episode.val.num_episodes=0"], "episode.val.num_episodes is 0; it must be at least 1"),
        (["optimizer.lr=-1"], "Invalid learning rate"),
        (["algorithm=maml", "algorithm.inner_loop.steps=-1"], "steps=-1"),
        (["algorithm=snail", "episode.train.shot=[]"], "episode.train.shot is []; a range has a smallest and a"),
        (["algorithm=snail", "episode.train.way=[2,x]"], "episode.train.way=[2, 'x'] is not of the type int"),
        (["trainer=ddp_cpu", "episode.val.num_episodes=1"], "2 processes need at least as many meta-val"),
        (["trainer=ddp_cpu", "trainer.skip_nonfinite=1"], "=1 is for one device, but this run has 2: the others"),
        (["+paths.api_token=abc"], "looks like a secret"),
        (["paths.outputs=${oc.env:NOPE}", "hydra.run.dir=${paths.outputs}"], "NOPE"),
        (["trainer.devices=-1"], "trainer.devices=-1 names a GPU, but this machine has none"),
        (["dataset.num_alphabets=jürgen"], "quotes, 'dataset.num_alphabets=\"jürgen\"'"),
        (["mode=test", "checkpoint=nowhere.ckpt"], "there is no checkpoint nowhere.ckpt"),
        (["resume=nowhere"], "cannot resume nowhere: no run has begun there"),
    ],
)
def test_the_command_says_one_line_and_exits_with_2(metalearn, overrides: list[str], message: str) -> None:
    finished = metalearn(*overrides, small="dataset=omniglot" not in overrides)
    assert finished.code == 2
    (line,) = finished.text.strip().splitlines()
    assert line.startswith("metalearn: ")
    assert message in line


def test_own_data_sets_may_state_less_than_those_of_the_package() -> None:
    """A shape in the YAML of a data set, and numbers of its encoding, are optional."""
    own, cnn = {"_target_": "own.Rows"}, {"_target_": "own.Net"}
    none, other = {"_target_": "metalearn.episodes.augmentation.Unchanged"}, {"_target_": "own.Noise"}
    check_text(own, cnn, none)
    check_text({**own, "input_shape": [1, 1, 8]}, cnn, other)
    check_text({**own, "encoding": "bpe"}, {**cnn, "num_tokens": 5}, none)
    check_same_input(own, own)


@pytest.mark.parametrize(
    ("splits", "mode", "message"),
    [
        ({"test"}, "train", "^mine has no meta-train and no meta-val, so it cannot train; to test on it: mode=test"),
        ({"train", "val"}, "train", "^mine has no meta-test: type test_dataset=NAME"),
        ({"train", "val"}, "test", "^mine has no meta-test: type test_dataset=NAME"),
    ],
)
def test_a_data_set_without_a_needed_split_is_refused(splits: set[Split], mode: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_splits(splits, mode, "mine")
    check_splits({"test"}, "test", "mine")
