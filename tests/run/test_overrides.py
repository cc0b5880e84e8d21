"""Command lines that continue an earlier run."""

import json
import re
from pathlib import Path

import origins
import pytest
from conftest import resolved

from metalearn import __version__
from metalearn.run.command.grammar import value
from metalearn.run.command.overrides import SPLIT, expand, newest_unfinished, with_absolute_paths, with_relative_paths
from metalearn.run.directory.keys import key, node

EARLIER = ["algorithm=maml", "algorithm.inner_lr=0.1", "seed=3", "logger=wandb", "logger.wandb.group=g", "+trainer.x=1"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "checkpoints").mkdir()
    origins.write(tmp_path / "checkpoints/last.ckpt", *EARLIER)
    return tmp_path


def test_resuming_repeats_everything(run: Path) -> None:
    assert expand([f"resume={run}"]) == [*EARLIER, f"resume='{run}'", f"hydra.run.dir='{run}'"]


def test_what_is_typed_wins(run: Path) -> None:
    expanded = expand([f"resume={run}", "tasks_per_batch=4", "trainer.x=2"])
    assert [o for o in expanded if "tasks" in o or "trainer" in o] == ["tasks_per_batch=4", "trainer.x=2"]


def test_resuming_has_the_seed_and_the_first_weights_of_the_run(run: Path, tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.mkdir()
    origins.write(run / "checkpoints/last.ckpt", "seed=3", f"pretrained={before}", "experiment=mine")
    for same in ("seed=3", f"pretrained='{before}/'", "experiment=mine"):
        assert same in expand([f"resume={run}", same])
    for other in ("seed=4", "pretrained=null", "pretrained=other", "experiment=other"):
        with pytest.raises(ValueError, match=f"^{other} is refused, since the weights are of"):
            expand([f"resume={run}", other])
    before.rename(tmp_path / "moved")
    assert "pretrained=moved" in expand([f"resume={run}", "pretrained=moved"])
    (run / "checkpoints/last.ckpt").unlink()
    (run / ".hydra").mkdir()
    (run / ".hydra/overrides.yaml").write_text("[seed=3]")
    assert "seed=4" in expand([f"resume={run}", "seed=4"]), "it begins anew"


def test_testing_repeats_all_but_the_logger(run: Path) -> None:
    typed = ["mode=test", f"checkpoint='{run}/checkpoints/last.ckpt'"]
    assert expand(typed) == ["algorithm=maml", "algorithm.inner_lr=0.1", "seed=3", "+trainer.x=1", *typed]


def test_testing_takes_the_split_that_was_drawn_for_the_run(run: Path) -> None:
    split, checkpoint = run / "classes.csv", f"checkpoint={run}/checkpoints/last.ckpt"
    split.write_text("split,class\n")
    assert f"dataset.manifest='{split}'" in expand(["mode=test", checkpoint])
    given = expand(["mode=test", checkpoint, "dataset.manifest=mine.csv"])
    assert [o for o in given if "manifest" in o] == ["dataset.manifest=mine.csv"]
    assert not [o for o in expand(["mode=test", checkpoint, "dataset=omniglot"]) if "manifest" in o]


def test_a_copied_checkpoint_takes_no_split_of_another_folder(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "classes.csv").write_text("split,class\n")
    origins.write(tmp_path / "weights/best.ckpt", *EARLIER)
    assert not [o for o in expand(["mode=test", f"checkpoint={tmp_path}/weights/best.ckpt"]) if "manifest" in o]


def test_testing_takes_the_split_that_was_drawn_for_the_test_dataset(run: Path) -> None:
    test, split = ["mode=test", f"checkpoint={run}/checkpoints/last.ckpt"], run / "test_classes.csv"
    earlier = ["dataset=folder", "dataset@test_dataset=folder", f"test_dataset.root={run}/own"]
    origins.write(run / "checkpoints/last.ckpt", *earlier)
    split.write_text("split,class\n")
    (run / ".hydra").mkdir()
    (run / ".hydra/config.yaml").write_text(f"test_dataset: {{root: '{run}/own'}}\n")
    choices = "{dataset: folder, dataset@test_dataset: folder}"
    (run / ".hydra/hydra.yaml").write_text(f"hydra: {{runtime: {{cwd: '{run}', choices: {choices}}}}}\n")
    for same in ([], ["test_dataset=folder"], [f"test_dataset.root={run}/own"]):
        assert f"test_dataset.manifest='{split}'" in expand([*test, *same])
    for other in ("test_dataset.root=other", "test_dataset=omniglot", "dataset=omniglot"):
        assert not [o for o in expand([*test, other]) if "manifest" in o]
    given = expand([*test, "test_dataset.manifest=mine.csv"])
    assert [o for o in given if "manifest" in o] == ["test_dataset.manifest=mine.csv"]


def test_a_test_takes_no_seed_but_that_of_the_weights(run: Path) -> None:
    test = ["mode=test", f"checkpoint={run}/checkpoints/last.ckpt"]
    assert "seed=3" in expand([*test, "seed=3"])
    for other in ("seed=4", "seed=0", "++seed=4"):
        with pytest.raises(ValueError, match=rf"{re.escape(other)} is refused, .* of seed=3: leave it out"):
            expand([*test, other])
    with pytest.raises(ValueError, match="seed=3,4 is refused"):
        expand(["-m", *test, "seed=3,4"])


def test_a_data_set_of_a_test_replaces_the_test_data_of_the_training(run: Path) -> None:
    (run / ".hydra").mkdir()
    (run / ".hydra/config.yaml").write_text("seed: 3\n")
    (run / ".hydra/hydra.yaml").write_text("hydra: {runtime: {choices: {dataset@test_dataset: mnist}, cwd: .}}\n")
    origins.write(run / "checkpoints/last.ckpt", "dataset@test_dataset=mnist", "test_dataset.root=x")
    test = ["mode=test", f"checkpoint={run}/checkpoints/last.ckpt"]
    other = [o for o in expand([*test, "dataset=fashion_mnist"]) if "dataset" in o]
    assert other == ["dataset=fashion_mnist", "~dataset@test_dataset"]
    assert resolved(*other).get("test_dataset") is None
    both = expand([*test, "dataset=glyphs", "test_dataset=fashion_mnist"])
    assert [o for o in both if "@" in o] == ["dataset@test_dataset=fashion_mnist"]
    assert "test_dataset.root=x" in expand(test)


def test_a_test_takes_no_classes_of_another_fold(run: Path) -> None:
    (run / ".hydra").mkdir()
    (run / ".hydra/hydra.yaml").write_text("hydra: {runtime: {choices: {dataset: liu}, cwd: /}}\n")
    (run / ".hydra/config.yaml").write_text("evaluation: {folds: 5, fold: 0}\ndataset: {fold: 1, root: own}\n")
    test = ["mode=test", f"checkpoint={run}/checkpoints/last.ckpt"]
    assert "evaluation.fold=0" in expand([*test, "evaluation.fold=0"])
    for other in ("evaluation.fold=1", "evaluation.folds=3", "dataset.fold=2"):
        for same in ([], ["dataset=liu"]):
            with pytest.raises(ValueError, match=f"^{other} is refused, since the weights are of"):
                expand([*test, *same, other])
        for data in ("dataset=clinc150", "dataset.root=others"):
            assert other in expand([*test, data, other])


def test_a_test_takes_no_setting_of_another_training(run: Path) -> None:
    (run / ".hydra").mkdir(exist_ok=True)
    (run / ".hydra/config.yaml").write_text(
        "episode: {train: {way: 20, shot: [1, 5]}, val: {shot: 1}}\n"
        "tasks_per_batch: 1\noptimizer: {backbone_lr: null}\n"
    )
    (run / ".hydra/hydra.yaml").write_text("hydra: {runtime: {choices: {optimizer: adam, experiment: null}, cwd: .}}\n")
    test = ["mode=test", f"checkpoint={run}/checkpoints/last.ckpt"]
    same = ["episode.train.way=20", "episode.train.shot=[1,5]", "tasks_per_batch=1", "optimizer=adam", "batch_size=9"]
    assert [o for o in expand([*test, *same]) if o in same] == same
    for other in (
        "episode.train.way=4",
        "episode.val.shot=5",
        "episode.train.shot=1",
        "tasks_per_batch=2",
        "optimizer=sgd",
        "optimizer.backbone_lr=1",
        "experiment=mine",
    ):
        with pytest.raises(ValueError, match=rf"{re.escape(other)} is refused, since the weights are of"):
            expand([*test, other])
    pretrained = expand(["mode=test", f"pretrained={run}/checkpoints/last.ckpt", "episode.train.way=4"])
    assert "episode.train.way=4" in pretrained  # that run trained another head


def test_the_seed_of_weights_may_be_that_of_a_config(own_images: Path) -> None:
    test = ["mode=test", f"checkpoint={own_images}/checkpoints/best.ckpt"]
    assert "seed=0" in expand([*test, "seed=0"])
    (own_images / ".hydra/config.yaml").write_text("seed: 5\n")
    assert "seed=5" in expand([*test, "seed=5"])


def test_arguments_of_a_replaced_part_go_with_it(run: Path) -> None:
    expanded = expand(["mode=test", f"checkpoint={run}/checkpoints/last.ckpt", "algorithm=anil"])
    assert [o for o in expanded if "algorithm" in o] == ["algorithm=anil"]


def test_other_command_lines_stay_as_they_are() -> None:
    deleted = (["~resume=run"], ["mode=test", "~checkpoint=run"])
    for argv in (["seed=1"], ["--multirun", "seed=1,2"], ["--help"], ["resume=null"], [], *deleted):
        assert expand(argv) == argv


def test_of_a_directory_typed_twice_the_last_one_counts(run: Path) -> None:
    other, own = "hydra.run.dir=other", f"hydra.run.dir={run}"
    assert expand([f"resume={run}", other, own])[-3:] == [other, own, f"resume='{run}'"]
    with pytest.raises(ValueError, match="leave hydra.run.dir=other out"):
        expand([f"resume={run}", own, other])


@pytest.mark.parametrize(
    ("typed", "flags"),
    [
        ("batch_norm=batch --cfg job TEST", ["--cfg", "job"]),
        ("TEST -m batch_norm=batch,running", ["--multirun"]),
        ("--config-dir=c batch_norm=batch TEST --multirun", ["--multirun", "--config-dir", "c"]),
        ("batch_norm=batch -cd c -cn other TEST", ["--config-name", "other", "--config-dir", "c"]),
        (
            "TEST --cfg job --resolve batch_norm=batch --package _global_",
            ["--cfg", "job", "--resolve", "--package", "_global_"],
        ),
        ("TEST batch_norm=batch --info", ["--info", "all"]),
    ],
)
def test_flags_come_first_in_whatever_order_they_are_typed(run: Path, typed: str, flags: list[str]) -> None:
    test = f"mode=test checkpoint={run}/checkpoints/last.ckpt"
    expanded = expand(typed.replace("TEST", test).split())
    assert expanded[: len(flags)] == flags
    assert all("=" in word and not word.startswith("-") for word in expanded[len(flags) :])
    assert {"mode=test", "algorithm=maml"} <= set(expanded)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("report outputs", "'report' is not an override: type metalearn report DIR..."),
        ("predict x --help", "'predict' is not an override: type metalearn predict RUN --support"),
        ("seed", "'seed' is not an override: an override is KEY=VALUE"),
        ("--nowhere seed=1", "unrecognized arguments: --nowhere"),
        ("--cfg nothing", "invalid choice: 'nothing'"),
    ],
)
def test_a_word_that_is_no_override_is_refused(typed: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        expand(typed.split())


def test_version_is_that_of_metalearn(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        expand(["--version"])
    assert capsys.readouterr().out == f"metalearn {__version__}\n"


def test_a_checkpoint_may_be_named_in_the_root_of_the_file_system() -> None:
    with pytest.raises(FileNotFoundError, match="/absent.ckpt"):
        expand(["mode=test", "checkpoint=/absent.ckpt"])


@pytest.mark.parametrize("typed", ["checkpoints/last.ckpt", "last.ckpt", ".", "checkpoints"])
def test_a_checkpoint_is_a_file_or_a_run_directory_wherever_one_stands(
    run: Path, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    origins.write(run / "checkpoints/best.ckpt", *EARLIER)
    (run / SPLIT).write_text("split,class\n")
    monkeypatch.chdir(run / "checkpoints" if typed == "last.ckpt" else run)
    expanded = expand(["mode=test", f"checkpoint={typed}"])
    assert value(expanded[-1]).endswith(("last.ckpt", "best.ckpt"))
    assert Path(value(expanded[-1])).is_file()
    assert f"dataset.manifest='{run / SPLIT}'" in expanded


def test_signs_in_the_name_of_a_run_directory(tmp_path: Path) -> None:
    run = tmp_path / "Ann's [old] (v=2) Vögel"
    (run / "checkpoints").mkdir(parents=True)
    origins.write(run / "checkpoints/last.ckpt", *with_absolute_paths(["dataset.root='b c'"], run))
    (run / SPLIT).write_text("split,class\n")
    resumed = {key(o): value(o) for o in expand([f"resume={run}"])}
    assert resumed == {"dataset.root": str(run / "b c"), "resume": str(run), "hydra.run.dir": str(run)}
    tested = {key(o): value(o) for o in expand(["mode=test", f"checkpoint={run}/checkpoints/last.ckpt"])}
    assert tested["dataset.manifest"] == str(run / SPLIT)
    assert tested["checkpoint"] == f"{run}/checkpoints/last.ckpt"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (["optimizer=adam"], []),  # another option, with other arguments
        (["optimizer=sgd"], ["optimizer.momentum"]),  # the earlier option again
        (["trainer.strategy=auto"], ["optimizer.momentum"]),
        (["test_dataset=mnist"], ["optimizer.momentum"]),
        (["augmentation=none", "callbacks=mine", "evaluation=episodes"], ["optimizer.momentum"]),
    ],
)
def test_arguments_of_every_replaced_part_go_with_it(tmp_path: Path, typed: list[str], kept: list[str]) -> None:
    parts = [
        "trainer.strategy.x",
        "test_dataset.root",
        "augmentation.share",
        "+callbacks.best.x",
        "evaluation.settings",
    ]
    earlier = ["optimizer=sgd", "optimizer.momentum=0.5", *(f"{part}=1" for part in parts)]
    (tmp_path / "checkpoints").mkdir()
    origins.write(tmp_path / "checkpoints/last.ckpt", *earlier)
    expanded = {node(o) for o in expand([f"resume={tmp_path}", *typed])}
    assert ("optimizer.momentum" in expanded) == ("optimizer.momentum" in kept)
    for part in parts:
        name = part.lstrip("+")
        replaced = any(name.startswith(f"{o.partition('=')[0]}.") for o in typed)
        assert (name in expanded) != replaced


def test_another_machine_keeps_the_settings_of_the_training(run: Path) -> None:
    training = ["trainer.max_steps=5000", "trainer.gradient_clip_val=1", "+trainer.profiler.dirpath='/x'"]
    machine = ["trainer=ddp", "trainer.devices=2", "trainer.strategy.broadcast_buffers=false"]
    origins.write(run / "checkpoints/last.ckpt", *training, *machine)
    assert expand([f"resume={run}"])[:-2] == [*training, *machine]
    assert [o for o in expand([f"resume={run}", "trainer=cpu"]) if "trainer" in o] == [*training, "trainer=cpu"]
    test = ["mode=test", f"checkpoint={run}/checkpoints/last.ckpt", "trainer=cpu"]
    assert [o for o in expand(test) if "trainer" in o] == ["trainer=cpu"], "a test has no training to continue"


def test_a_checkpoint_that_was_copied_alone_knows_its_parts(tmp_path: Path) -> None:
    origins.write(tmp_path / "best.ckpt", "dataset.characters=8", "algorithm.distance=cosine")
    test = ["mode=test", f"checkpoint={tmp_path}/best.ckpt", "dataset=glyphs", "algorithm=prototypical"]
    assert {"dataset.characters=8", "algorithm.distance=cosine"} <= set(expand(test))
    assert "dataset.characters=8" not in expand([*test[:2], "dataset=omniglot"])


def test_a_group_of_keys_is_merged_into_a_part(run: Path) -> None:
    origins.write(run / "checkpoints/last.ckpt", "episode.test.shot=5", "episode.test.way=4")
    expanded = expand(["mode=test", f"checkpoint={run}/checkpoints/last.ckpt", "episode.test={way: 3}"])
    composed = resolved(*(o for o in expanded if "episode" in o))["episode"]["test"]
    assert (composed["shot"], composed["way"]) == (5, 3)


def test_a_group_of_keys_keeps_the_option_of_its_part(own_images: Path) -> None:
    new, option = "dataset={max_unreadable: 0.5}", "dataset=folder"
    test = ["mode=test", f"checkpoint={own_images}"]
    assert option in expand([*test, new])
    assert expand([*test, option, new]).count(option) == 1
    assert option not in expand([*test, "dataset=text", new])
    added, merged = "+callbacks.mine={x: 1}", "evaluation={settings: [20w1s]}"
    origins.write(own_images / "checkpoints/best.ckpt", option, new, added, "evaluation=lake")
    expanded = expand([*test, new, "+callbacks.mine={x: 2}", merged])
    assert expanded.count(new) == 1 and added not in expanded
    assert expanded.index("evaluation=lake") < expanded.index(merged)


def test_a_group_of_keys_changes_no_fixed_setting(run: Path) -> None:
    origins.write(run / "checkpoints/last.ckpt", "episode.train.way=5")
    test = ["mode=test", f"checkpoint={run}/checkpoints/last.ckpt"]
    assert expand([*test, "episode={train: {way: 5}}"])
    with pytest.raises(ValueError, match=r"is refused, since the weights are of episode\.train\.way=5: leave it out$"):
        expand([*test, "episode={train: {way: 3}}"])


@pytest.mark.parametrize(("began", "status"), [("mode=test", "interrupted"), ("seed=3", "completed")])
def test_what_has_no_training_to_continue_is_kept(tmp_path: Path, began: str, status: str) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra/overrides.yaml").write_text(f"[algorithm=maml, {began}]")
    (tmp_path / "result.json").write_text(json.dumps({"status": status}))
    with pytest.raises(ValueError, match="it has no training that could continue; repeat its command in another"):
        expand([f"resume={tmp_path}"])


@pytest.fixture
def own_images(run: Path) -> Path:
    """Writes a run on the folder own/, with Hydra's records."""
    earlier = ["dataset=folder", f"dataset.root={run}/own", "dataset.input_shape=[1,28,28]"]
    origins.write(run / "checkpoints/best.ckpt", *earlier)
    (run / SPLIT).write_text("split,class\n")
    (run / ".hydra").mkdir()
    dataset = "{root: '${paths.data}', split: [0.6, 0.2, 0.2], split_seed: 0}"
    (run / ".hydra/config.yaml").write_text(f"paths: {{data: own}}\ndataset: {dataset}\n")
    choices = f"hydra: {{runtime: {{cwd: '{run}', choices: {{dataset: folder, optimizer: adam}}}}}}\n"
    (run / ".hydra/hydra.yaml").write_text(choices)
    return run


@pytest.mark.parametrize(
    ("typed", "keeps_split", "keeps_shape"),
    [
        ("dataset.split=[0.6,0.2,0.2]", True, True),
        ("dataset.root=other", False, True),
        ("dataset.root=own", True, True),
        ("dataset.root=./own/../own", True, True),
        ("dataset=folder dataset.root=own", True, True),
        ("dataset=omniglot", False, False),
        ("dataset=folder dataset.root=other", False, True),
        ("dataset.root=other dataset.root=own", True, True),
        ("dataset.root=own dataset.root=other", False, True),
    ],
)
def test_a_test_draws_no_other_split_of_the_images_that_were_trained_on(
    own_images: Path, typed: str, keeps_split: bool, keeps_shape: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_images)
    keys = {node(o) for o in expand(["mode=test", "checkpoint=.", *typed.split()])}
    assert ("dataset.manifest" in keys) == keeps_split
    assert ("dataset.input_shape" in keys) == keeps_shape


@pytest.mark.parametrize("begin", ["mode=test checkpoint=.", "mode=test pretrained=.", "resume=."])
def test_no_other_split_is_drawn_where_the_run_keeps_one(
    own_images: Path, begin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_images)
    (own_images / "checkpoints/last.ckpt").write_bytes((own_images / "checkpoints/best.ckpt").read_bytes())
    assert "dataset.split_seed=0" in expand([*begin.split(), "dataset.split_seed=0"])
    # A resumption reads the file in its directory, wherever the images are.
    moved, others = ([["dataset.root=moved"]], []) if begin == "resume=." else ([], ["dataset.root=others"])
    for other in ("dataset.split_seed=1", "dataset.split=[0,0,1]", "dataset={split_seed: 1}"):
        for same in ([], ["dataset=folder", "dataset.root=own"], *moved):
            with pytest.raises(ValueError, match=rf"^{re.escape(other)} is refused, since the weights are of"):
                expand([*begin.split(), *same, other])
        for elsewhere in ("dataset=text", "dataset.manifest=mine.csv", *others):
            assert other in expand([*begin.split(), elsewhere, other])


@pytest.mark.parametrize("begin", ["mode=test checkpoint=.", "mode=test pretrained=.", "resume=."])
def test_no_other_split_is_drawn_where_the_run_named_its_manifest(
    own_images: Path, begin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_images)
    (own_images / SPLIT).unlink()
    for name in ("best", "last"):
        origins.write(own_images / f"checkpoints/{name}.ckpt", "dataset=folder", "dataset.manifest=/mine.csv")
    assert "dataset.split_seed=0" in expand([*begin.split(), "dataset.split_seed=0"])
    with pytest.raises(ValueError, match=r"^dataset.split_seed=1 is refused, since the weights are of"):
        expand([*begin.split(), "dataset.split_seed=1"])
    assert "dataset.split_seed=1" in expand([*begin.split(), "dataset.manifest=/other.csv", "dataset.split_seed=1"])


def test_damaged_and_pruned_neighbours_of_an_unfinished_run_are_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, overrides, result in (
        ("good", "[seed=3]", None),
        ("empty", "", None),
        ("torn", "[seed=3", None),
        ("half", "[seed=3]", '{"stat'),
        ("list", "[seed=3]", "[]"),
        ("pruned", "[seed=3]", '{"status": "pruned"}'),
    ):
        run = tmp_path / "glyphs" / name
        for folder in ("checkpoints", ".hydra"):
            (run / folder).mkdir(parents=True)
        origins.write(run / "checkpoints/last.ckpt", "seed=3")
        (run / ".hydra/overrides.yaml").write_text(overrides)
        if result:
            (run / "result.json").write_text(result)
    found = newest_unfinished(tmp_path.glob("*/*"), ["seed=3"])
    assert found == tmp_path / "glyphs/good"
    said = capsys.readouterr().err.splitlines()
    assert len(said) <= 4 and all(", since its records are damaged: " in line for line in said)


@pytest.mark.parametrize("began", ["dataset.root=birds", "dataset.root='{}/birds'"])
@pytest.mark.parametrize("typed", ["dataset.root=birds", "dataset.root={}/birds"])
def test_an_unfinished_run_is_found_by_its_paths_however_typed(
    tmp_path: Path, typed: str, began: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (".hydra/overrides.yaml", ".hydra/config.yaml", ".hydra/hydra.yaml", "checkpoints/last.ckpt"):
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("{}")
    (tmp_path / "run/.hydra/overrides.yaml").write_text(json.dumps(["seed=3", began.format(tmp_path)]))
    (tmp_path / "run/.hydra/hydra.yaml").write_text(json.dumps({"hydra": {"runtime": {"cwd": str(tmp_path)}}}))
    found = newest_unfinished([tmp_path / "run"], ["seed=3", typed.format(tmp_path)])
    assert found == tmp_path / "run"
    assert newest_unfinished([tmp_path / "run"], ["seed=3", "dataset.root=fish"]) is None


def test_a_run_that_was_killed_between_its_first_two_checkpoints_is_unfinished(run: Path) -> None:
    (run / "checkpoints/last.ckpt").rename(run / "checkpoints/best.ckpt")
    (run / ".hydra").mkdir()
    (run / ".hydra/overrides.yaml").write_text("[seed=3]")
    assert f"resume='{run}'" in expand(["seed=3", "resume=auto", f"hydra.run.dir={run}"])


@pytest.mark.parametrize("content", ["[seed=3", "a: b", "", "- {a: b}", "\0", "[" * 10_000])
def test_a_run_with_damaged_overrides_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    (path := tmp_path / ".hydra/overrides.yaml").parent.mkdir()
    path.write_text(content)
    with pytest.raises(ValueError, match=f"^{path} is damaged \\(.*\\): repeat the command of the run$"):
        expand([f"resume={tmp_path}"])


def test_paths_are_stored_so_that_they_hold_anywhere() -> None:
    there = {
        "paths.data=../data": "paths.data='/work/here/../data'",
        "paths.outputs=/abs": "paths.outputs='/abs'",
        "paths.cache=${oc.env:X}": "paths.cache=${oc.env:X}",
        "dataset.root=my/own": "dataset.root='/work/here/my/own'",
        "dataset.root='it\\'s'": "dataset.root='/work/here/it\\'s'",
        "+test_dataset.root=my/own": "+test_dataset.root='/work/here/my/own'",
        "test_dataset.manifest=x.csv": "test_dataset.manifest='/work/here/x.csv'",
        "pretrained=x.ckpt": "pretrained='/work/here/x.ckpt'",
        **{o: o for o in ("seed=1", "dataset.manifest=null", "~dataset.root", "dataset=folder", "algorithm.x=a/b")},
    }
    assert with_absolute_paths(list(there), Path("/work/here")) == list(there.values())
    short = {"a.root='/work/here/my/own'": "a.root=my/own", "a.root='/work/here/it\\'s'": "a.root='it\\'s'"}
    same = ("a.root=my/own", "a.root=/data", "pretrained=/b/x.ckpt", "paths.cache=${oc.env:X}", "seed=1", "~a.root")
    short |= dict(zip(same, same, strict=True))
    assert with_relative_paths(list(short), Path("/work/here")) == list(short.values())
