"""Folder of run directories, as any config sets it; a config that cannot be composed."""

import shutil
from pathlib import Path

import origins
import pytest
from conftest import REPOSITORY, Command
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from metalearn.run.command.composed import outputs
from metalearn.run.command.conf import conf_dir
from metalearn.run.command.explain import explain
from metalearn.run.command.overrides import expand


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes conf/local/default.yaml with the folder mine of a home directory."""
    (tmp_path / "conf/local").mkdir(parents=True)
    (tmp_path / "conf/local/default.yaml").write_text("paths: {outputs: ~/mine}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("wrong", ["no such key", "hydra.job.env_copy=[NO_SUCH_VARIABLE]"])
def test_the_folder_is_the_default_where_no_config_is_composed(home: Path, wrong: str) -> None:
    assert outputs(["--config-dir", "conf", wrong]) == Path("outputs")


@pytest.mark.parametrize(
    "words",
    ["", "-m algorithm=maml,anil seed=0,1", "-m hparams_search=prototypical_glyphs hydra/launcher=slurm"],
)
def test_the_folder_is_that_of_the_config(home: Path, words: str) -> None:
    assert outputs(["--config-dir", "conf", *words.split()]) == home / "mine"
    assert outputs(["--config-dir", "conf", *words.split(), "paths.outputs=other"]) == Path("other")
    assert outputs(words.split()) == Path("outputs")


def test_the_newest_run_is_sought_where_the_config_puts_its_runs(home: Path) -> None:
    folder = home / "mine/glyphs/run"
    for name in ("checkpoints", ".hydra"):
        (folder / name).mkdir(parents=True)
    origins.write(folder / "checkpoints/last.ckpt", "seed=3")
    (folder / ".hydra/overrides.yaml").write_text("[seed=3]")
    found = f"resume='{folder}'"
    assert found in expand(["--config-dir", "conf", "seed=3", "resume=auto"])
    assert "resume=null" in expand(["seed=3", "resume=auto"])
    assert found in expand(["seed=3", "resume=auto", f"hydra.run.dir={folder}"])
    assert "resume=null" in expand(["--config-dir", "conf", "seed=3", "resume=auto", "hydra.run.dir=elsewhere"])
    with pytest.raises(ValueError, match=r"^resume=auto needs a directory that is written out, not hydra.run.dir=r\$"):
        expand(["seed=3", "resume=auto", "hydra.run.dir=r${seed}"])
    typed = f"paths.outputs='{home}/mine'"
    (folder / ".hydra/overrides.yaml").write_text(f'[seed=3, "{typed}"]')
    assert found in expand(["seed=3", "paths.outputs=~/mine", "resume=auto"])


@pytest.mark.parametrize("typed", [[], ["trainer.max_steps=1"], ["trainers.max_steps=1"]])
def test_a_wrong_group_in_a_file_is_named_with_the_file(tmp_path: Path, typed: list[str]) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local/default.yaml").write_text("defaults: [override /nosuch: x]\n")
    with initialize_config_dir(conf_dir(), version_base="1.3"), pytest.raises(HydraException) as raised:
        compose("config", [f"hydra.searchpath=[file://{tmp_path}]", *typed])
    line = explain(raised.value, ["--config-dir", str(tmp_path), *typed])
    assert line == "In 'local/default': Could not override 'nosuch'. No match in the defaults list."


@pytest.mark.parametrize("flags", [["--config-dir", "{}"], ["hydra.searchpath=[file://{}]"]])
def test_a_file_that_hydra_never_reads_is_refused(metalearn: Command, tmp_path: Path, flags: list[str]) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(REPOSITORY / "conf/optimizer", mine / "optimizer")
    (mine / "local").mkdir()
    (mine / "local/default.yaml").write_text("seed: 77\n")
    words = [*(flag.format(mine) for flag in flags), "--cfg", "job"]
    composed = metalearn(*words)
    assert composed.code == 0 and "\nseed: 77\n" in composed.text, composed.text
    (mine / "optimizer/adam.yaml").write_text("_target_: torch.optim.Adam\nlr: 0.5\n")
    refused = metalearn(*words)
    assert refused.code == 2
    reason = "is never read, since metalearn has a file of that name: rename it"
    assert refused.text == f"metalearn: {mine}/optimizer/adam.yaml {reason}\n"
