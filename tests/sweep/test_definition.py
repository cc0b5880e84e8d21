"""sweep.json, the definition of a sweep."""

import re
from pathlib import Path

import pytest

from metalearn.run.directory import sweep_record
from metalearn.sweep import definition
from metalearn.sweep.jobs import Job


def jobs(folder: Path, *overrides: str) -> list[Job]:
    return [Job(i, ["trainer=cpu", override], folder / str(i)) for i, override in enumerate(overrides)]


def test_another_definition_under_the_same_name_is_refused(tmp_path: Path) -> None:
    definition.record(tmp_path, jobs(tmp_path, "seed=0", "seed=1"), ["--multirun"])
    # An extension of the sweep.
    definition.record(tmp_path, jobs(tmp_path, "seed=0", "seed=1", "seed=2"), ["--multirun"])
    before = (tmp_path / sweep_record.NAME).read_text()
    with pytest.raises(ValueError, match=r"its job 1 has seed=1 where this command has seed=7; .* hydra\.sweep\.dir"):
        definition.record(tmp_path, jobs(tmp_path, "seed=0", "seed=7"), ["--multirun"])
    assert (tmp_path / sweep_record.NAME).read_text() == before
    (tmp_path / "3").mkdir()
    (tmp_path / "3/result.json").write_text("{}")
    (tmp_path / "4/checkpoints").mkdir(parents=True)
    (tmp_path / "4/checkpoints/last.ckpt").touch()  # a run that was killed, whose weights a job would continue
    for number in (3, 4):
        job = Job(number, ["trainer=cpu", "seed=3"], tmp_path / str(number))
        with pytest.raises(ValueError, match=f"{number} holds another run"):
            definition.record(tmp_path, [job], ["--multirun"])


def test_jobs_of_one_directory_are_refused(tmp_path: Path) -> None:
    alike = [Job(number, [f"seed={number}"], tmp_path / "all") for number in range(2)]
    message = f"jobs 0 and 1 would both run in {tmp_path}/all: let hydra.sweep.subdir differ, as "
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        definition.record(tmp_path, alike, ["--multirun"])
    assert not (tmp_path / sweep_record.NAME).exists()
    definition.record(tmp_path, [alike[0], alike[0]], ["--multirun"])


def test_the_same_command_goes_on_with_what_is_unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ["--multirun", "seed=0,1", "trainer=cpu"]
    sweep = tmp_path / "outputs/sweeps/first"
    sweep.mkdir(parents=True)
    definition.record(sweep, jobs(sweep, "seed=0", "seed=1"), argv)
    found = "hydra.sweep.dir='outputs/sweeps/first'"
    assert definition.continued(argv) == [*argv, found]
    assert definition.continued([*argv, "hydra.launcher.slots=1"])[-1] == found
    same = ["--multirun", "trainer=cpu", "seed=0,1"]
    assert definition.continued(same) == [*same, found]
    for other in (
        ["--multirun", "seed=0,1,2", "trainer=cpu"],
        ["--multirun", "--config-dir", "c", *argv[1:]],
        ["seed=0,1", "trainer=cpu"],
        [*argv, "hydra.sweep.dir=x"],
        [*argv, "hydra.searchpath=[file://c]"],
    ):
        assert definition.continued(other) == other
    for i in range(2):
        (sweep / f"{i}").mkdir()
        (sweep / f"{i}/result.json").write_text('{"status": "completed"}')
    assert definition.continued(argv) == argv  # all jobs are finished, so the next sweep is new


@pytest.mark.parametrize("place", ["dataset.root=birds", "--config-dir conf"])
def test_equal_words_in_another_folder_are_another_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    folders = [tmp_path / name for name in ("mine", "yours", "moved")]
    for folder in folders[:2]:
        (folder / "conf").mkdir(parents=True)
    outputs = f"paths.outputs={tmp_path}/outputs"
    argv = ["--multirun", *place.split(), "dataset=folder", outputs, "seed=0,1"]
    sweep = tmp_path / "outputs/sweeps/first"
    sweep.mkdir(parents=True)
    monkeypatch.chdir(folders[0])
    definition.record(sweep, jobs(sweep, "seed=0", "seed=1"), argv)
    monkeypatch.chdir(folders[1])
    assert definition.continued(argv) == argv
    folders[0].rename(folders[2])
    monkeypatch.chdir(folders[2])
    assert definition.continued(argv)[-1] == f"hydra.sweep.dir='{sweep}'"


@pytest.mark.parametrize("place", ["local", "searchpath", "typed"])
def test_a_sweep_goes_on_where_any_config_puts_its_runs(tmp_path: Path, monkeypatch, place: str) -> None:
    (tmp_path / "conf/local").mkdir(parents=True)
    (tmp_path / "conf/local/default.yaml").write_text("paths: {outputs: ~/mine}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    words = {
        "local": ["--config-dir", "conf"],
        "searchpath": [f"hydra.searchpath=[file://{tmp_path}/conf]"],
        "typed": ["paths.outputs='mine'"],
    }
    argv = ["--multirun", *words[place], "algorithm=maml,prototypical", "hydra/launcher=slurm", "seed=0,1"]
    sweep = tmp_path / "mine/sweeps/first"
    sweep.mkdir(parents=True)
    definition.record(sweep, jobs(sweep, "seed=0", "seed=1"), argv)
    (found,) = set(definition.continued(argv)) - set(argv)
    assert found.startswith("hydra.sweep.dir=") and found.endswith("mine/sweeps/first'")
    assert definition.continued([*argv, "seed"]) == [*argv, "seed"]  # Hydra refuses it later


def test_arguments_of_swept_parts_are_left_to_the_jobs() -> None:
    chosen = ["--multirun", "dataset=clinc150,liu", "algorithm=maml"]
    for typed, left in {
        "dataset.fold=2": "dataset.fold=choice(2)",
        "dataset.input_shape=[16]": "dataset.input_shape=choice([16])",
        "dataset.url=": "dataset.url=choice('')",
        "dataset.url=null": "++dataset.url=null",
    }.items():
        assert definition.in_jobs([*chosen, typed])[-1] == left
    for unchanged in ("algorithm.inner_lr=1", "dataset.fold=1,2", "~dataset.fold", "hydra.launcher.slots=1", "seed=3"):
        assert definition.in_jobs([*chosen, unchanged]) == [*chosen, unchanged]
    with_folder = ["--multirun", "--config-dir", "/a=b(c", *chosen[1:]]
    assert sorted(definition.in_jobs([*with_folder, "dataset.fold=2"])) == sorted(
        [*with_folder, "dataset.fold=choice(2)"]
    )
    search = ["hydra/sweeper=optuna", "hparams_search=maml"]
    for argv in (["dataset=liu", "dataset.fold=2"], *([*chosen, "dataset.fold=2", word] for word in search)):
        assert definition.in_jobs(argv) == argv
