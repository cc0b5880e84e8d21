"""Values of overrides: every text can be written, and paths need no quotes."""

import shlex

import pytest
from conftest import REPOSITORY, composed, composed_at_once
from hydra.core.hydra_config import HydraConfig
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from metalearn.run.command.grammar import expand_user_paths, is_path, quoted, readable, value
from metalearn.run.directory.keys import node

SIGNS = st.one_of(st.sampled_from("'\"\\${}=,()[]~ \n:é"), st.characters())


@given(st.text(SIGNS).filter(lambda text: text != "???"))  # OmegaConf's mark of a missing value
@settings(max_examples=500, deadline=None, database=None, derandomize=True)
def test_a_quoted_text_is_read_as_itself(text: str) -> None:
    assert OmegaConf.create({"root": value(f"root={quoted(text)}")}).root == text


@pytest.mark.parametrize(
    "path",
    ["Ann's project", "birds (v2)", "step=2.ckpt", "Vögel", "a,b", "[x] y", "{y", 'say "x"', "2024", "1e3", "f (x) y"],
)
@pytest.mark.parametrize("key", ["dataset.root", "pretrained", "test_dataset.root", "paths.data", "hydra.run.dir"])
def test_a_path_needs_no_quotes(key: str, path: str) -> None:
    read = readable(f"{key}={path}", multirun=False)
    assert value(read) == path
    assert readable(read, multirun=False) == read


@pytest.mark.parametrize("word", ["null", "'a b'", "${oc.env:HOME}/x", "some/where", "[a,b]"])
def test_a_path_that_hydra_can_read_stays_as_it_is(word: str) -> None:
    assert readable(f"dataset.root={word}", multirun=False) == f"dataset.root={word}"


def test_several_paths_are_those_of_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert readable("dataset.root=a,b", multirun=True) == "dataset.root=a,b"
    assert readable("dataset.root=~/a,b (2),'c d'", multirun=True) == "dataset.root='/home/ann/a','b (2)','c d'"


@pytest.mark.parametrize(
    ("override", "remedy"),
    [
        ("callbacks.x=jürgen", """put the value in quotes, 'callbacks.x="jürgen"'"""),
        ("logger.wandb.group=a=b", """put the value in quotes, 'logger.wandb.group="a=b"'"""),
        ("x=f(y)", """put the value in quotes, 'x="f(y)"'"""),
        ("x=choice(null,1.0)", "cannot be read: choice() takes no null; type x=null,1.0"),
        ("x=choice(null, 'a b')", "choice() takes no null; type " + shlex.quote("x=null, 'a b'")),
        (
            "x=choice(null,1),2",
            "NoneType is incompatible with Union[str, int, float, bool, Dict[Any, Any], List[Any], ChoiceSweep]",
        ),
        ("x=interval(1)", "x=interval(1) cannot be read: missing a required argument: 'end'"),
        ("x=it's", """put the value in quotes, 'x="it'"'"'s"'"""),
        ("a b=1", "'a b' is not the name of a key"),
        ("seed=" + "[" * 9999, "...\"'"),
    ],
)
def test_another_value_is_refused_with_the_remedy(override: str, remedy: str) -> None:
    with pytest.raises(ValueError, match="put the value in quotes|is not the name of a key|cannot be read: ") as raised:
        readable(override, multirun=False)
    assert str(raised.value).endswith(remedy)
    assert len(str(raised.value)) < 300


def test_the_key_that_an_override_sets() -> None:
    assert node("dataset@test_dataset=mnist") == "test_dataset"
    assert node("++trainer.x=1") == "trainer.x"
    assert node("hydra/launcher=slurm") == "hydra.launcher"


def test_home_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    for key in (
        "dataset.root",
        "checkpoint",
        "pretrained",
        "resume",
        "hydra.run.dir",
        "hydra.sweeper.storage",
        "paths.outputs",
    ):
        assert value(readable(f"{key}=~/x", multirun=False)) == "/home/ann/x"
    config = OmegaConf.create({"paths": {"data": "~/d"}, "dataset": {"root": "${paths.data}/own"}, "note": "~/n"})
    expand_user_paths(config)
    assert config == {"paths": {"data": "/home/ann/d"}, "dataset": {"root": "/home/ann/d/own"}, "note": "~/n"}


def test_run_directories_are_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    composed_at_once("paths.outputs='~/runs'")
    assert HydraConfig.get().run.dir.startswith("/home/ann/runs/glyphs-prototypical-conv4/")
    assert HydraConfig.get().sweep.dir.startswith("/home/ann/runs/sweeps/")


def test_folders_of_the_environment_are_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("METALEARN_DATA", "~/data")
    monkeypatch.setenv("METALEARN_CACHE", "~/cache")
    paths = composed().paths
    assert (paths.data, paths.cache) == ("/home/ann/data", "/home/ann/cache")
    monkeypatch.delenv("METALEARN_CACHE")
    assert composed().paths.cache == "/home/ann/.cache/metalearn"


def test_every_path_of_the_configs_is_known_by_its_name() -> None:
    paths = set()
    for file in (REPOSITORY / "conf").glob("*/*.yaml"):
        for line in file.read_text().splitlines():
            name, _, text = line.strip().partition(": ")
            if text.startswith(("${paths.", "${hydra:runtime.output_dir}", "${home:")):
                paths.add(f"{file.parent.name}.{name}")
    assert {"dataset.root", "dataset.cache", "dataset.manifest", "callbacks.folder"} <= paths
    files = {"backbone.vectors", "dataset.encoding.words", "dataset.installed"}  # whose default is no path of `paths`
    assert [path for path in paths | files if not is_path(path)] == []
