"""The command that repeats the best trial composes and runs the config of that trial."""

import re
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY, SMALL
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from optuna.trial import TrialState

from metalearn.search.preset import spelled_out
from metalearn.search.search import _trials
from metalearn.search.trials import Trials

OWN_PRESET = """# @package _global_
defaults:
  - override /algorithm: reptile
  - override /dataset@test_dataset: glyphs
  - override /hydra/sweeper: optuna
hydra: {mode: MULTIRUN, sweeper: {n_trials: 1, params: {optimizer.lr: "interval(0.1, 1)", seed: 3}}}
trainer: {max_steps: 7}
test_dataset: {num_alphabets: [1, 1, 1]}
published: {accuracy: 0.5, source: "it's ${dataset.characters}"}
tasks_per_batch: 1
"""


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Writes a folder for --config-dir, with a preset."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "hparams_search").mkdir()
    (folder / "hparams_search/own.yaml").write_text(OWN_PRESET)
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        yield folder


def run_config(folder: Path, overrides: list[str]) -> DictConfig:
    search_path = f"hydra.searchpath=['file://{folder}']"
    return compose("config", [search_path, "hydra.runtime.output_dir=out", *overrides], return_hydra_config=True)


@pytest.mark.parametrize("preset", ["own", "maml_glyphs", "prototypical_glyphs"])
def test_a_preset_is_spelled_out_as_what_it_composes(configs: Path, preset: str) -> None:
    typed = [f"hparams_search={preset}", "episode.train.way=5", "optimizer.lr=0.5"]
    if preset == "own":
        typed.append("test_dataset.characters=7")  # a key that only the preset brings
    spelled = spelled_out(typed, partial(run_config, configs))
    assert not any("hparams_search" in override or "hydra" in override for override in spelled)
    assert spelled[1 - len(typed) :] == typed[1:]
    wanted, got = (run_config(configs, overrides) for overrides in (typed, spelled))
    keys = [name for name in wanted if name != "hydra"]
    assert OmegaConf.masked_copy(wanted, keys) == OmegaConf.masked_copy(got, keys)


def test_without_a_preset_overrides_stay(configs: Path) -> None:
    assert spelled_out(["algorithm=maml", "+x=1"], partial(run_config, configs)) == ["algorithm=maml", "+x=1"]
    spelled = spelled_out(["hparams_search=own"], partial(run_config, configs))
    source = "++published.source='it\\'s ${dataset.characters}'"
    assert {"algorithm=reptile", "dataset@test_dataset=glyphs", "trainer.max_steps=7", source} <= set(spelled)


@pytest.mark.parametrize("group", ["hparams_search", "experiment"])
def test_a_search_of_an_edited_file_is_another_search(
    configs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    (tmp_path / "files" / group).mkdir(parents=True)
    file = tmp_path / "files" / group / "own.yaml"
    launcher: Any = SimpleNamespace(compose=lambda _, overrides: run_config(tmp_path / "files", overrides))
    usual = {"sampler": "tpe", "seeds": [], "objectives": ["score"], "start": [], "study_name": None, "seed": 0}
    settings: Any = SimpleNamespace(
        **usual, n_trials=1, pruner="none", storage=str(tmp_path / "study.log"), params={"seed": "range(0, 9)"}
    )

    def begin(written: str) -> Trials:
        file.write_text(written)
        return _trials(settings, launcher, [f"{group}=own"], tmp_path)

    begin(OWN_PRESET)
    begin(f"{OWN_PRESET}seed: 5  # which varies")
    edited = OWN_PRESET.replace("max_steps: 7", "max_steps: 9")
    with pytest.raises(ValueError, match=r"of another search: for trainer\.max_steps it has 7, this command 9;"):
        begin(edited)


def test_a_study_may_be_at_home(configs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(configs)
    grid(tmp_path, "seed=0,1", storage="~/x.log")
    assert (tmp_path / "x.log").is_file()


def test_a_search_whose_folder_was_renamed_continues(configs: Path, tmp_path: Path) -> None:
    first = grid(tmp_path / "before", "seed=0,1").study
    first.tell(first.ask(), 0.5)
    (tmp_path / "before").rename(tmp_path / "after")
    again = grid(tmp_path / "after", "seed=0,1")
    assert (again.study.study_name, again.num_finished) == ("before", 1)


OTHER_EPISODES = {
    "episode.val.way=choice(2,5)": "episode.val.way is 2 in one trial and 5 in another",
    "episode.train.way=choice(2,5) episode.val.way=${episode.train.way}": "episode.val.way is 2 in one trial",
    "episode.train.way=range(2,9) episode.val=${episode.train}": "episode.val.way is 2 in one trial and 8 in another",
    "algorithm=prototypical,maml,finetune": "episode.val.num_episodes is 200 in one trial and 20 in another",
    "dataset=glyphs,omniglot": "dataset._target_ is metalearn.data.glyphs.Glyphs in one trial",
    "+vars.x=1,2 dataset.seed=${vars.x}": "dataset.seed is 1 in one trial and 2 in another",
    "dataset=omniglot evaluation=episodes,lake": "dataset.split is vinyals in one trial and lake in another",
    "evaluation=crossval evaluation.fold=range(0,5)": "evaluation.fold is 0 in one trial and 4 in another",
    "evaluation=crossval seed=range(0,5)": "seed is 0 in one trial and 4 in another",
    "train_split=null,train_val": "train_split is null in one trial and train_val in another",
}


def grid(folder: Path, typed: str, storage: str = "") -> Trials:
    """Opens a search over all combinations of the typed values."""
    folder.mkdir(exist_ok=True)
    launcher: Any = SimpleNamespace(compose=lambda _, overrides: run_config(folder, overrides))
    usual = {"seeds": [], "objectives": ["score"], "start": [], "study_name": None, "seed": 0, "params": {}}
    settings: Any = SimpleNamespace(
        **usual, sampler="grid", n_trials=9, pruner="none", storage=storage or str(folder / "study.log")
    )
    return _trials(settings, launcher, typed.split(), folder)


@pytest.mark.parametrize("typed", OTHER_EPISODES)
def test_a_search_over_other_tasks_of_meta_val_is_refused(configs: Path, tmp_path: Path, typed: str) -> None:
    with pytest.raises(ValueError, match=re.escape(OTHER_EPISODES[typed])) as refused:
        grid(tmp_path, typed)
    assert "scores are of other meta-val episodes: keep dataset, episode.val and evaluation.fold" in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("mode=test checkpoint=a.ckpt seed=0,1", "mode=test has no validation, on which a search chooses"),
        ("train_split=train_val seed=0,1", "train_split=train_val leaves no meta-val, on which a search chooses"),
    ],
)
def test_a_search_without_meta_val_is_refused(configs: Path, tmp_path: Path, typed: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        grid(tmp_path, typed)


def test_a_trial_of_other_tasks_of_meta_val_is_refused(configs: Path, tmp_path: Path) -> None:
    """Each key alone changes nothing here: the data set follows from two of them together."""
    trials = grid(tmp_path, "+vars.x=0,1 +vars.y=0,1 dataset.seed='${product:${vars.x},${vars.y}}'")
    with pytest.raises(ValueError, match="dataset.seed is 0 in one trial and 1 in another"):
        [trials.ask() for _ in range(4)]
    (waiting,) = trials.all(TrialState.WAITING)
    assert waiting.system_attrs["fixed_params"] == {"+vars.x": "1", "+vars.y": "1"}


@pytest.mark.parametrize(
    "typed",
    [
        "dataset.input_shape=[1,28,28],[1,32,32] algorithm=prototypical,maml seed=range(0,3)",
        "dataset=text backbone=text_cnn backbone.vectors=null,glove.txt",
    ],
)
def test_a_search_may_vary_the_form_of_the_same_tasks(configs: Path, tmp_path: Path, typed: str) -> None:
    assert grid(tmp_path, typed).ask() is not None


def test_seeds_of_trainings_of_several_lengths_are_not_pruned(tmp_path: Path) -> None:
    settings: Any = SimpleNamespace(params={"trainer.max_steps": "10,20"}, seeds=[0, 1], pruner="hyperband")
    line = r"the seeds \[0, 1\] of two trials begin at other steps, .*: give hydra.sweeper.pruner=none"
    with pytest.raises(ValueError, match=line):
        _trials(settings, None, [], tmp_path)  # type: ignore[arg-type]


def test_the_command_of_a_search_runs_when_it_is_typed(metalearn, configs: Path) -> None:
    folder = configs / "it's a search"
    small = [*SMALL[:-1], f"hydra.sweep.dir='{configs}/it\\'s a search'"]
    forked = ("hydra.launcher.slots=1", "hydra.launcher.preload=true")
    (configs / "optimizer").mkdir()
    (configs / "optimizer/mine.yaml").write_text("_target_: torch.optim.RAdam\n_partial_: true\nlr: 0.25\n")
    typed = ("--config-dir", str(configs), "hparams_search=own", "optimizer=mine", *small, *forked)
    searched = metalearn(*typed, folder=folder, small=False)
    assert searched.code == 0, searched.text
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert best["command"] in searched.text.replace("\n", "")
    python, *command = shlex.split(best["command"])
    assert (python, command[:2]) == ("python", ["-m", "metalearn"])
    repeated = metalearn(*command[2:], f"hydra.run.dir={configs}/again", folder=configs / "again", small=False)
    assert repeated.code == 0, repeated.text
    assert repeated.result["steps"] == 7
    assert repeated.result["val"]["accuracy"]["mean"] == best["val_accuracy"]
    assert "hparams_search" not in " ".join(repeated.result["overrides"])
    of_experiment = (folder / "experiment/best.yaml").read_text().splitlines()[1].partition("To run it: ")[2]
    composed = metalearn(*shlex.split(of_experiment)[3:], "--cfg", "job", folder=configs / "composed", small=False)
    assert (composed.code, "torch.optim.RAdam" in composed.text) == (0, True), composed.text


def test_a_search_of_which_nothing_completed_has_failed(metalearn, tmp_path: Path) -> None:
    grid = ("hydra/sweeper=optuna", "hydra.sweeper.sampler=grid", "seed=choice(-1,-2)")
    own = (f"hydra.sweep.dir={tmp_path}", "hydra.launcher.slots=1", "hydra.launcher.preload=true")
    done = metalearn("-m", *SMALL, *grid, *own, small=False)
    assert done.code == 1, done.text
    last = done.text.rstrip().splitlines()[-1]
    assert last == f"metalearn: no trial has completed, and 2 have failed: see {tmp_path}/0001/stdout.log"
    assert done.text.count("seed is -1; it must be from 0 to 4294967295") == 1
