"""The jobs of a sweep that are composed before one starts, and the overrides of each."""

import errno
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import REPOSITORY
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from metalearn.run.command.guard import WatchedLoader
from metalearn.sweep.jobs import Job, JobFailed
from metalearn.sweep.launcher import AbstractLauncher
from metalearn.sweep.loop import Loop
from metalearn.sweep.subprocess_launcher import SubprocessLauncher


@pytest.fixture
def launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[SubprocessLauncher]:
    """Builds the launcher of a sweep in a folder that needs quotes; its jobs are not started."""
    monkeypatch.setattr(Loop, "run", lambda *_, **__: None)
    monkeypatch.setattr(sys, "argv", ["metalearn", "--multirun"])
    typed = [f"hydra.sweep.dir='{tmp_path}/it\\'s'", f"hydra.searchpath=['file://{tmp_path}']", "hydra.verbose=false"]
    typed += [request.param] if hasattr(request, "param") else []
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        loader = WatchedLoader(GlobalHydra.instance().config_loader().get_search_path())
        config = loader.load_configuration("config", [*typed, "hydra.launcher.slots=2"], RunMode.MULTIRUN)
        HydraConfig.instance().set_config(config)
        made = SubprocessLauncher(2, threads=None, timeout=None, retries=0, preload=False)
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        made.setup(hydra_context=context, task_function=lambda _: None, config=config)
        yield made


@pytest.fixture
def composed(launcher: SubprocessLauncher, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Records the overrides that have been composed."""
    seen: list[list[str]] = []
    compose = launcher.compose

    def noted(number: int, overrides: list[str]):
        seen.append(overrides)
        return compose(number, overrides)

    monkeypatch.setattr(launcher, "compose", noted)
    return seen


def finish(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"status": "completed", "seconds": {}}))


def test_what_is_finished_or_differs_in_values_is_not_composed(launcher, composed, tmp_path: Path) -> None:
    batch = [[f"seed={seed}", f"algorithm={name}", "+x=1"] for name in ("maml", "r2d2") for seed in range(4)]
    launcher.launch(batch, 0)
    assert composed == [batch[0], batch[4]]
    composed.clear()
    launcher._trainers.clear()
    for i in range(8):
        finish(tmp_path / "it's" / str(i))
    launcher.launch(batch, 0)
    assert composed == []


def test_a_sweep_with_a_wrong_name_is_not_recorded(launcher, tmp_path: Path) -> None:
    with pytest.raises(HydraException, match="nothing"):
        launcher.launch([["seed=0"], ["seed=1", "algorithm.nothing=1"]], 0)
    launcher.launch([["seed=0"], ["seed=1"]], 0)  # the corrected command is no other sweep


@pytest.mark.parametrize("launcher", ["hydra.job.chdir=false", "hydra.sweep.subdir=s${seed}"], indirect=True)
def test_a_damaged_result_is_refused_with_the_remedy(launcher, tmp_path: Path) -> None:
    launcher.launch([["seed=0"]], 0)
    (folder,) = json.loads((tmp_path / "it's/sweep.json").read_text())["jobs"]
    result = tmp_path / "it's" / folder / "result.json"
    result.parent.mkdir(exist_ok=True)
    result.write_text("{")
    remedy = "delete it, and the job continues from its last checkpoint"
    with pytest.raises(ValueError, match=f"^{re.escape(str(result))} cannot be read: .*; {remedy}$"):
        launcher.launch([["seed=0"]], 0)


@pytest.mark.parametrize("launcher", ["hydra.sweep.subdir=s${seed}"], indirect=True)
def test_a_finished_job_with_a_name_of_its_own_is_not_composed(launcher, composed, tmp_path: Path) -> None:
    """Resolves a typed pattern with each job's own values."""
    sweep = tmp_path / "it's"
    batch = [[f"seed={seed}"] for seed in range(3)]
    launcher.launch(batch, 0)
    assert [*json.loads((sweep / "sweep.json").read_text())["jobs"]] == ["s0", "s1", "s2"]
    for name in ("s0", "s2"):
        finish(sweep / name)
    composed.clear()
    more = [["seed=3"], *batch]  # other numbers, equal folders
    launcher.launch(more, 0)
    assert [overrides for overrides in more if overrides in composed] == [["seed=3"], ["seed=1"]]


@pytest.mark.parametrize(
    ("launcher", "names"),
    [
        ("hydra.sweep.subdir=run_${hydra:job.num}", ["run_4", "run_5"]),
        ("hydra.sweep.subdir=${hydra:job.override_dirname}", ["seed=0", "seed=1"]),
    ],
    indirect=["launcher"],
)
def test_a_directory_may_have_settings_of_hydra_in_its_name(launcher, names: list[str], tmp_path: Path) -> None:
    launcher.launch([["seed=0"], ["seed=1"]], 4)
    assert [*json.loads((tmp_path / "it's/sweep.json").read_text())["jobs"]] == names


@pytest.mark.parametrize("wrong", ["algorithm=mml", "optimizer.lrr=1", "trainer=fast", "trainer.device=2"])
def test_a_wrong_name_in_any_job_is_found_before_one_starts(launcher, wrong: str, monkeypatch) -> None:
    monkeypatch.setattr(Loop, "run", lambda *_, **__: pytest.fail("a job has started"))
    with pytest.raises(HydraException):
        launcher.launch([["seed=0"], ["seed=1"], ["seed=2", wrong]], 0)


def test_jobs_have_the_processes_that_they_ask_for(launcher, composed) -> None:
    overrides = [["seed=0"], ["seed=1"], ["trainer=ddp_cpu"], ["trainer.devices=3"], ["trainer.devices=auto"]]
    jobs = [Job(i, own, Path(str(i))) for i, own in enumerate(overrides)]
    assert [launcher.processes(job) for job in jobs] == [1, 1, 2, 3, None]
    by_value = [Job(i, ["trainer.devices=${seed}", f"seed={i}"], Path(str(i))) for i in (1, 2, 3)]
    assert [launcher.processes(job) for job in by_value] == [1, 2, 3]
    before = len(composed)
    assert [launcher.processes(job) for job in [*jobs, *by_value]] == [1, 1, 2, 3, None, 1, 2, 3]
    assert len(composed) == before


def test_a_job_keeps_where_configs_lie_and_quotes_its_folder(launcher, tmp_path: Path) -> None:
    arguments = launcher.arguments(Job(3, ["seed=1"], tmp_path / "it's/3"))
    assert f"hydra.searchpath=['file://{tmp_path}']" in arguments
    assert "hydra.verbose=false" in arguments
    assert f"hydra.run.dir='{tmp_path}/it\\'s/3'" in arguments
    assert not any(argument.startswith(("hydra.sweep", "hydra.launcher")) for argument in arguments)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            "defaults: [{override /hydra/launcher: slurm}]",
            "chooses hydra/launcher=slurm, which conf/config.yaml overrides: type it",
        ),
        ("hydra: {launcher: {retries: 3}}", "sets hydra.launcher.retries=3, which cannot change a sweep"),
        ("hydra: {sweep: {subdir: elsewhere}}", "sets hydra.sweep.subdir=elsewhere"),
        ("hydra: {sweeper: {params: {seed: '1,2'}}}", "sets hydra.sweeper.params.seed=1,2"),
        ("hydra: {launcher: {slots: 2}}", None),  # as the whole sweep has it
        ("seed: 3", None),
    ],
)
@pytest.mark.parametrize("named", ["own", "[prototypical_omniglot,own]"])
@pytest.mark.parametrize("launcher", ["hydra.sweeper.max_batch_size=7"], indirect=True)
def test_a_choice_that_hydra_would_drop_is_refused(
    launcher, tmp_path: Path, content: str, line: str | None, named: str
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/own.yaml").write_text(f"# @package _global_\n{content}\n")
    experiments = [["experiment=prototypical_omniglot"], [f"experiment={named}"]]
    if line is None:
        launcher.launch(experiments, 0)
    else:
        with pytest.raises(ValueError, match=re.escape(f"experiment={named} {line}")):
            launcher.launch(experiments, 0)


def test_each_experiment_of_a_list_keeps_its_settings(launcher) -> None:
    names = ("snell2017_omniglot_5w1s", "snell2017_omniglot_5w5s", "finn2017_omniglot_5w1s")
    configs = [launcher.compose(i, [f"experiment={name}"]) for i, name in enumerate(names)]
    assert [config.episode.test.shot for config in configs] == [1, 5, 1]
    assert [config.hydra.runtime.choices.algorithm for config in configs] == ["prototypical", "prototypical", "maml"]


def test_a_directory_with_square_brackets_is_named_as_it_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sweep = tmp_path / "[b]" / "[" / "a]"
    sweep.mkdir(parents=True)
    config = OmegaConf.create({"hydra": {"runtime": {"config_sources": []}}})
    prepared = {"prepare": lambda: (sweep, SimpleNamespace(capacity=2)), "run": lambda *_: None}
    launcher: Any = SimpleNamespace(**prepared, config=config, compose=None, is_group=bool)
    for launcher.leave in (None, lambda slots, jobs: None):
        AbstractLauncher.launch(launcher, [], 0)
        printed = capfd.readouterr().out
        assert f"0 jobs, 2 at a time: {sweep}\n" in printed
        assert printed.count(str(sweep)) == 2


@pytest.fixture
def finished(launcher, tmp_path: Path) -> list[list[str]]:
    """Leaves two finished jobs of an experiment with a learning rate, and returns all three."""
    (tmp_path / "experiment").mkdir()
    batch = [["experiment=mine", f"seed={seed}", "trainer.max_steps=2"] for seed in range(3)]
    edit(tmp_path, "optimizer: {lr: 0.002}")
    for number in range(2):
        folder = tmp_path / "it's" / str(number)
        finish(folder)
        (folder / ".hydra").mkdir()
        config = launcher.compose(number, batch[number])
        OmegaConf.save(OmegaConf.masked_copy(config, [name for name in config if name != "hydra"]), folder / CONFIG)
    definition = {"command": [], "typed": [], "cwd": "/", "jobs": {str(number): batch[number] for number in range(2)}}
    (tmp_path / "it's/sweep.json").write_text(json.dumps(definition))
    return batch


CONFIG = ".hydra/config.yaml"


def edit(folder: Path, content: str) -> None:
    (folder / "experiment/mine.yaml").write_text(f"# @package _global_\n{content}\n")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("optimizer: {lr: 0.5}", "job 0 ran with optimizer.lr=0.002, which a config file now has as 0.5: undo"),
        ("optimizer: {lr: 0.002}\ncallbacks: {ema: {decay: 0.9}}", "callbacks.ema.decay=null, which a config file now"),
        ("optimizer: {lr: 0.002}\nseed: 7\nepisode: {test: {shot: 5}}", "ran with episode.test.shot=1, which a"),
    ],
)
def test_an_edited_config_is_refused_for_a_finished_job(launcher, finished, tmp_path, content: str, line: str) -> None:
    edit(tmp_path, content)
    with pytest.raises(ValueError, match=re.escape(line)):
        launcher.launch(finished, 0)


def test_an_edited_config_is_refused_for_a_job_that_would_continue(launcher, finished, tmp_path: Path) -> None:
    """The half with the old settings would be in no line but the job's own log."""
    job = tmp_path / "it's/0"
    (job / "result.json").unlink()
    edit(tmp_path, "optimizer: {lr: 0.002}\ntasks_per_batch: 3")
    launcher.launch(finished[:1], 0)
    (job / "checkpoints").mkdir()
    (job / "checkpoints/last.ckpt").touch()
    with pytest.raises(ValueError, match="^job 0 ran with tasks_per_batch=1, which a config file now has as 3: undo"):
        launcher.launch(finished[:1], 0)


def test_an_edit_that_changes_no_number_is_no_edit(launcher, finished, composed, tmp_path: Path) -> None:
    """Typed values win over files, so their edits matter no more than those of places."""
    launcher.launch(finished, 0)
    assert composed == [finished[2]], "finished jobs are not composed"
    edit(tmp_path, "# !\noptimizer: {lr: 2.0e-3}\ntrainer: {max_steps: 9, devices: 1}\npaths: {data: d}\nseed: 7")
    composed.clear()
    launcher.launch(finished, 0)
    assert composed == [finished[0]], "jobs that differ in values are composed once"


def test_an_edit_before_a_job_began_is_no_edit(launcher, finished, tmp_path: Path) -> None:
    edit(tmp_path, "optimizer: {lr: 0.5}")
    launcher.launch(finished[2:], 2)
    later = (tmp_path / "experiment/mine.yaml").stat().st_ctime + 1
    for number in range(2):
        os.utime(tmp_path / "it's" / str(number) / CONFIG, (later, later))
    launcher.launch(finished, 0)


@pytest.mark.parametrize("filename", ["a/stdout.log", None])
def test_a_full_disk_stops_a_sweep_as_a_failure(launcher, tmp_path: Path, monkeypatch, capfd, filename) -> None:
    def fill(loop: Loop) -> None:
        loop._source.next().status = "running"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), filename)

    monkeypatch.setattr(Loop, "run", fill)
    named = re.escape(filename or f"{tmp_path}/it's")
    with pytest.raises(JobFailed, match=f"^No space left on device: {named}; .*repeat the command"):
        launcher.launch([["seed=0"], ["seed=1"]], 0)
    table = capfd.readouterr().out
    assert "│   0 │ seed=0    │ interrupted" in table
    assert "│   1 │ seed=1    │ pending" in table
