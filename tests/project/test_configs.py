"""Every file of conf/ composes, its class takes its keys, and the names of the contract exist."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, composed, resolved
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from metalearn.run.checks.config import check_config
from metalearn.run.command.explain import explain, explain_yaml, known_keys

CONF = REPOSITORY / "conf"
OPTIONS = sorted(
    (path.parent.name, path.stem)
    for path in CONF.glob("*/*.yaml")
    # These groups are parts of other files.
    if path.parent.name not in ("recipe", "problem", "pair", "local")
)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_its_classes_take_its_keys(group: str, option: str) -> None:
    # The protocol of Lake is for one data set, and parts that read texts need one of texts.
    data = ["dataset=omniglot"] if (group, option) == ("evaluation", "lake") else []
    if group == "backbone" and "num_tokens" in (CONF / group / f"{option}.yaml").read_text():
        data = ["dataset=text"]
    config = resolved(f"{group}={option}", *data)
    check_config(config)
    if group in ("dataset", "algorithm", "backbone"):  # a part is one class
        assert config[group]["_target_"].startswith("metalearn.")
        own = yaml.safe_load((CONF / group / f"{option}.yaml").read_text())
        assert "_target_" in own or "defaults" in own


def test_the_keys_of_the_contract() -> None:
    config = resolved()
    assert {"seed", "tasks_per_batch", "batch_norm", "resume", "checkpoint", "mode"} <= config.keys()
    for split in ("train", "val", "test"):
        assert {"way", "shot", "query"} <= config["episode"][split].keys()
    assert "num_episodes" in config["episode"]["val"]
    assert "num_episodes" in config["episode"]["test"]
    assert {"max_steps", "max_time"} <= config["trainer"].keys()
    assert config["dataset"]["_target_"].endswith("Glyphs")
    assert config["algorithm"]["_target_"].endswith("Prototypical")
    assert config["backbone"]["_target_"].endswith("Conv4")


def test_data_is_found_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METALEARN_DATA", raising=False)
    assert resolved()["paths"]["data"] == "data"
    monkeypatch.setenv("METALEARN_DATA", "/somewhere")
    assert resolved("dataset=omniglot")["dataset"]["root"] == "/somewhere/omniglot"


def test_a_limit_in_time_lifts_the_default_limit_in_steps() -> None:
    assert resolved()["trainer"]["max_steps"] == 600
    assert resolved("trainer.max_time=00:00:05:00")["trainer"]["max_steps"] == -1
    assert resolved("trainer.max_time=00:00:05:00", "trainer.max_steps=7")["trainer"]["max_steps"] == 7
    assert resolved("trainer.max_epochs=5")["trainer"]["max_steps"] == -1
    assert resolved("dataset=sinusoid")["trainer"]["max_steps"] == 20000
    assert resolved("dataset=sinusoid", "trainer.max_epochs=5")["trainer"]["max_steps"] == -1


def test_what_is_typed_wins_over_the_recipe_of_the_algorithm_and_the_experiment() -> None:
    assert resolved("algorithm=maml")["batch_norm"] == "batch"
    assert resolved("algorithm=maml", "batch_norm=support")["algorithm"]["batch_norm"] == "support"
    assert resolved("experiment=prototypical_omniglot")["episode"]["train"]["way"] == 60
    assert resolved("experiment=prototypical_omniglot", "episode.train.way=7")["episode"]["train"]["way"] == 7


def test_what_is_ones_own_wins_over_an_experiment_but_not_over_what_is_typed(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local/default.yaml").write_text("episode:\n  train: {way: 9}\n  test: {way: 8}\n")
    both = (f"hydra.searchpath=[file://{tmp_path}]", "experiment=prototypical_omniglot")
    assert resolved(*both)["episode"]["train"]["way"] == 9
    typed = resolved(*both, "episode.train.way=7")
    assert [typed["episode"][split]["way"] for split in ("train", "test")] == [7, 8]
    assert "local" not in typed


PAIRS = [("dataset", path.stem) for path in CONF.glob("pair/*.yaml")]
PAIRS += [("backbone", path.stem) for path in CONF.glob("pair/backbone/*.yaml")]


@pytest.mark.parametrize(("part", "pair"), PAIRS)
def test_what_an_algorithm_needs_on_a_data_set_or_a_backbone_names_both(part: str, pair: str) -> None:
    named = [
        (option, algorithm)
        for group, option in OPTIONS
        for other, algorithm in OPTIONS
        if (group, other) == (part, "algorithm") and f"{option}_{algorithm}" == pair
    ]
    assert len(named) == 1
    texts = ["dataset=clinc150"] if named[0][0].startswith("text_") else []
    check_config(resolved(*texts, f"{part}={named[0][0]}", f"algorithm={named[0][1]}"))


@pytest.mark.parametrize("dataset", ["sinusoid", "gp", "completion", "table"])
def test_a_data_set_gives_its_settings_to_its_own_backbone_alone(dataset: str, tmp_path: Path) -> None:
    default = resolved(f"dataset={dataset}")
    assert default["backbone"]["norm"] is False
    assert default["backbone"]["hidden"] == ([256, 128, 64, 64] if dataset == "table" else [40, 40])
    assert resolved(f"dataset={dataset}", "backbone=mlp") == default
    (tmp_path / "backbone").mkdir()
    own = "_target_: metalearn.backbones.conv4.Conv4\ninput_shape: ${dataset.input_shape}\n"
    (tmp_path / "backbone/net.yaml").write_text(own)
    config = resolved(f"hydra.searchpath=[file://{tmp_path}]", f"dataset={dataset}", "backbone=net")
    assert config["backbone"].keys() == {"_target_", "input_shape"}
    check_config(config)


def test_relation_asks_conv4_for_maps_and_what_is_typed_wins() -> None:
    assert resolved("algorithm=relation")["algorithm"]["backbone"]["pools"] == 2
    assert resolved("algorithm=relation", "backbone.pools=4")["algorithm"]["backbone"]["pools"] == 4
    assert resolved()["backbone"]["pools"] == 4
    check_config(resolved("algorithm=relation", "backbone=resnet12"))


def test_maml_takes_a_smaller_inner_step_on_a_transformer_of_texts() -> None:
    steps = [
        resolved("dataset=clinc150", "algorithm=maml", f"backbone={name}")["algorithm"]["inner_lr"]
        for name in ("text_cnn", "text_transformer")
    ]
    assert steps == [0.4, 0.1]


@pytest.mark.parametrize("experiment", [option for group, option in OPTIONS if group == "experiment"])
def test_an_experiment_says_what_is_published(experiment: str) -> None:
    published = resolved(f"experiment={experiment}")["published"]
    if published is None:
        assert "No number is published" in (CONF / f"experiment/{experiment}.yaml").read_text()
        return
    assert 0 < published["accuracy"] < 1
    assert published["source"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("episode.train.wey=3", "there is no key 'episode.train.wey'; did you mean 'episode.train.way'?"),
        ("episode.trian.wey=3", "there is no key 'episode.trian.wey'; did you mean 'episode.train.way'?"),
        ("datset=omniglot", "there is no key 'datset'; did you mean 'dataset'?"),
        ("lr=0.1", "there is no key 'lr'; did you mean 'optimizer.lr'?"),
        ("algorithm=maml algorithm.lr=1", "there is no key 'algorithm.lr'; did you mean 'optimizer.lr'?"),
        ("algorithm.inner_lr=1", "there is no key 'algorithm.inner_lr'"),
        (
            "algorithm=maml algorithm.inner_loop.step=3",
            "there is no key 'algorithm.inner_loop.step'; did you mean 'algorithm.inner_loop.steps'?",
        ),
        (
            "callbacks.early_stopping.patience=3",
            "there is no key 'callbacks.early_stopping.patience' without callbacks=early_stopping",
        ),
        ("way=5", "there is no key 'way'; use episode.train.way=N, and so for val and test"),
        (
            "optimizer.amsgrad=true",
            "there is no key 'optimizer.amsgrad' yet; a plus adds it: '+optimizer.amsgrad=true'",
        ),
        (
            "trainer.gradient_clip_algorithm=norm",
            "there is no key 'trainer.gradient_clip_algorithm' yet; a plus adds it: "
            "'+trainer.gradient_clip_algorithm=norm'",
        ),
        ("ckpt_path=x", "there is no key 'ckpt_path'; use checkpoint=PATH with mode=test, or resume=DIR"),
        ("model=maml", "there is no key 'model'; use backbone=NAME, or algorithm=NAME"),
        ("data=x", "there is no key 'data'; use dataset=NAME, or paths.data=DIR"),
        ("optimizer=true", "optimizer=true is not an option of optimizer: an option is a name"),
        ("quite_another=x", "there is no key 'quite_another'"),
        ("hydra.job.env_copy=[NO_SUCH_VARIABLE] sed=1", "there is no key 'sed'; did you mean 'seed'?"),
        (
            "backbone=conv5",
            "backbone has no option 'conv5'; did you mean 'conv4'? (bag_of_ngrams, bag_of_vectors, conv4, "
            "efficientnet_lite0, huggingface, huggingface_text, mlp, resnet12, resnet18, text_cnn, "
            "text_transformer, wrn_28_10)",
        ),
        (
            "scheduler=zigzag checkpoint=last.ckpt",
            "scheduler has no option 'zigzag' (constant, cosine, linear, plateau, step); if it is your own, repeat "
            "--config-dir DIR",
        ),
    ],
)
def test_a_wrong_name_is_explained_in_one_line(typed: str, message: str) -> None:
    with pytest.raises((HydraException, ValueError)) as raised:
        composed(*typed.split())
    assert explain(raised.value, typed.split()) == message


def test_the_nearest_key_of_a_sweep_is_of_its_first_job() -> None:
    typed = ["--multirun", "algorithm=maml,prototypical", "algorithm.inner_loop.step=3", "seed=0,1"]
    with pytest.raises(HydraException) as raised:
        composed(*typed[2:3])
    assert explain(raised.value, typed).endswith("; did you mean 'algorithm.inner_loop.steps'?")
    with pytest.raises(HydraException) as raised:
        composed("algorithm.inner_lr=1")
    assert explain(raised.value, typed) == "only some jobs of this sweep have the key 'algorithm.inner_lr'"
    search = ["--multirun", "hydra/sweeper=optuna", "algorithm=choice(maml,anil)"]
    experiments = ["--multirun", "experiment=finn2017_omniglot_5w1s,finn2017_omniglot_20w1s"]
    line = "the default algorithm has no key 'algorithm.inner_lr', which the jobs have: type "
    for words in (search, experiments):
        assert explain(raised.value, [*words, "algorithm.inner_lr=1"]) == f"{line}algorithm.inner_lr=choice(1)"
        assert explain(raised.value, [*words, "algorithm.inner_lr=null"]) == f"{line}++algorithm.inner_lr=null"
    mixed = ["--multirun", "hydra/sweeper=optuna", "backbone=choice(conv4,mlp)", "backbone.channels=8"]
    with pytest.raises(HydraException) as raised:
        composed("backbone=mlp", "backbone.channels=8")
    assert explain(raised.value, mixed) == "only some jobs of this sweep have the key 'backbone.channels'"


def test_an_interval_without_a_search_is_explained() -> None:
    typed = "algorithm.temperature=interval(0.1, 10)"
    with pytest.raises(HydraException) as raised:
        BasicSweeper.split_arguments(OverridesParser.create().parse_overrides([typed]), None)
    assert explain(raised.value, ["-m", typed]) == (
        f"{typed} is an interval, which only a search takes: add hydra/sweeper=optuna, or list values"
    )


def test_the_nearest_key_counts_the_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\ndefaults: [override /algorithm: maml]\n")
    typed = ["--config-dir", str(tmp_path), "experiment=mine", "algorithm.inner_lrr=1"]
    with pytest.raises(HydraException) as raised:
        composed(f"hydra.searchpath=[file://{tmp_path}]", *typed[2:])
    assert explain(raised.value, typed).endswith("; did you mean 'algorithm.inner_lr'?")


def test_a_file_that_is_no_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/bad.yaml").write_text("# @package _global_\nseed: [1\ntask: x\n")
    with pytest.raises(yaml.YAMLError) as raised:
        composed(f"hydra.searchpath=[file://{tmp_path}]", "experiment=bad")
    assert explain_yaml(raised.value) == (
        f"{tmp_path}/experiment/bad.yaml, line 3: this is not YAML: expected ',' or ']', but got ':'"
    )


@pytest.mark.parametrize("others", [(), ("dataset=sinusoid",), ("experiment=finn2017_omniglot_5w1s",)])
def test_a_debug_run_has_three_steps_of_any_run(others: tuple[str, ...]) -> None:
    trainer = resolved(*others, "debug=default", "trainer.accumulate_grad_batches=2")["trainer"]
    assert (trainer["max_steps"], trainer["val_check_interval"], trainer["detect_anomaly"]) == (3, 4, True)


def test_a_debug_run_scores_few_episodes() -> None:
    episode = resolved("debug=default")["episode"]
    assert [episode[split]["num_episodes"] for split in ("val", "test")] == [5, 5]
    assert resolved("debug=default", "episode.val.num_episodes=9")["episode"]["val"]["num_episodes"] == 9


def test_known_keys_are_those_that_can_be_overridden() -> None:
    keys = known_keys(composed())
    assert {"dataset", "trainer.max_steps", "episode.val.num_episodes", "algorithm.backbone"} <= set(keys)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installs the wheel in its own folder."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # copy for this process alone, because a build leaves files behind
    for name in ("metalearn", "conf"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "local"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    packed = {name.removeprefix("metalearn/conf/") for name in zipfile.ZipFile(wheel).namelist() if "/conf/" in name}
    assert packed == {str(path.relative_to(CONF)) for path in CONF.rglob("*.yaml") if "local" not in path.parts}
    site = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    return site


def test_wheel_and_checkout_compose_the_same_config(
    installed: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    def printed(command: list[str], path: Path) -> str:
        env = {**environment, "PYTHONPATH": str(path)}
        return subprocess.run(command, env=env, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    found = printed([sys.executable, "-c", "import metalearn; print(metalearn.__file__)"], installed)
    assert found.startswith(str(installed))
    module, script = [sys.executable, "-m", "metalearn"], [str(installed / "bin/metalearn")]
    choices = ["--cfg", "job", "algorithm=maml", "dataset=omniglot"]
    checkout = printed([*module, *choices], REPOSITORY)
    assert "inner_lr: 0.4" in checkout
    for command in (module, script):
        assert printed([*command, *choices], installed) == checkout


def test_the_launcher_is_found(installed: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """Looks into the wheel; each test of a sweep uses that of the checkout."""
    command = [sys.executable, "-m", "metalearn", "-m", "hydra.launcher.slots=0"]
    environment = {**environment, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("metalearn: hydra.launcher.slots=0 must be auto,")
