"""Two gloo processes equal one process with the joint batch: weights, running averages, scores."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import PATIENCE, SMALL, Finished
from sweeping import wait_for

from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.setting import Setting
from metalearn.run.directory.origin import Origin
from metalearn.run.process.conventions import FAILED
from metalearn.run.process.exits import ending
from metalearn.run.process.machine import check_nodes


def test_two_processes_train_and_score_as_one(metalearn) -> None:
    """Covers what the processes share; test_sweeps.py compares a prototypical network."""
    shared = ["algorithm=maml", "batch_norm=running", "episode.train.sampling=hard"]
    averaged = ["callbacks=ema", "callbacks.ema.decay=0.5"]
    # Plain gradient descent turns a difference in the gradients into an equal one in the weights;
    # float64 hides no real difference.
    plain = ["optimizer=sgd", "optimizer.lr=0.1", "optimizer.momentum=0", "optimizer.nesterov=false"]
    common = [*shared, *averaged, *plain, "trainer.precision=64-true"]
    both: Finished = metalearn(*common, "trainer=ddp_cpu", "tasks_per_batch=2")
    single: Finished = metalearn(*common, "trainer=cpu", "tasks_per_batch=4")
    assert (both.code, single.code) == (0, 0), both.text + single.text
    assert both.result["devices"] == Origin.of(both.checkpoint()).devices == 2
    for key, value in single.checkpoint()["state_dict"].items():
        torch.testing.assert_close(both.checkpoint()["state_dict"][key], value, rtol=1e-9, atol=1e-12)
    assert both.checkpoint()["EpisodicDataModule"] == single.checkpoint()["EpisodicDataModule"]
    # Two processes share seven episodes: each is scored once, and none is repeated to fill a batch.
    episodes = [np.load(run.folder / "test_episodes.npz") for run in (both, single)]
    np.testing.assert_allclose(episodes[0]["loss"], episodes[1]["loss"], rtol=1e-9)
    assert len(episodes[0]["accuracy"]) == both.test["accuracy"]["num_episodes"] == 7
    assert both.test["episodes_sha256"] == single.test["episodes_sha256"]
    assert not list(both.folder.parent.glob(f"{both.folder.name}?*"))  # only one run directory exists


def test_several_nodes_are_refused_where_nobody_starts_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "NODE_RANK", "GROUP_RANK"):
        monkeypatch.delenv(name, raising=False)
    check_nodes(pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False))
    trainer = pl.Trainer(accelerator="cpu", num_nodes=2, strategy="ddp", logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match="^trainer.num_nodes=2, but nothing says which node this is: start it on each"):
        check_nodes(trainer)
    monkeypatch.setenv("NODE_RANK", "1")
    check_nodes(trainer)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the signals of a process are read from /proc")
def test_a_signal_to_all_processes_while_one_of_them_starts_ends_the_run_in_order(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Covers Ctrl-C in a terminal, and the stop of a sweep."""
    for attempt in range(3):  # on a busy machine, a look may come after the import of torch
        command = [sys.executable, "-m", "metalearn", *SMALL, "trainer=ddp_cpu", f"hydra.run.dir={tmp_path}/{attempt}"]
        with subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.PIPE) as process:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            # The other process keeps signals from then on, and imports its packages.
            wait_for(lambda path=children: any(map(catches_sigterm, path.read_text().split())), process)
            (other,) = filter(catches_sigterm, children.read_text().split())
            in_time = "libtorch" not in Path(f"/proc/{other}/maps").read_text()
            os.killpg(process.pid, signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE)
        if in_time:
            break
    assert in_time, "it keeps signals too late"
    assert process.returncode == 143, said.decode()
    assert json.loads((tmp_path / str(attempt) / "result.json").read_text())["status"] == "interrupted"


def catches_sigterm(process: str) -> bool:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:  # it has ended
        return False
    caught = re.search(r"SigCgt:\s*(\w+)", status)
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_the_processes_share_the_episodes_of_a_step(bank) -> None:
    class Place:
        def __init__(self, rank: int, world: int) -> None:
            self.global_rank, self.world_size = rank, world
            processed = SimpleNamespace(processed=0)
            self.fit_loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(total=processed)))

    def data(rank: int, world: int, tasks: int) -> EpisodicDataModule:
        counts = {"train": 0, "val": 5, "test": 9}
        settings = {split: Setting(3, 1, 2, num_episodes=count) for split, count in counts.items()}
        module = EpisodicDataModule(dict.fromkeys(counts, bank), settings, seed=0, tasks_per_batch=tasks)
        module.trainer = Place(rank, world)
        return module

    streams = [data(rank, 2, tasks=2).train_batches() for rank in range(2)]
    joint = data(0, 1, tasks=4).train_batches()
    for _ in range(3):
        parts = [next(stream).query_rows for stream in streams]
        assert torch.equal(torch.cat(parts), next(joint).query_rows)
    scored = [list(data(rank, 2, tasks=2).evaluation_indices("test")) for rank in range(2)]
    assert sorted(scored[0] + scored[1]) == list(range(9))


def test_several_devices_in_a_sweep_of_one_process_are_refused(metalearn, tmp_path) -> None:
    own = ("hydra/launcher=basic", f"hydra.sweep.dir={tmp_path}/sweep")
    finished = metalearn("-m", *SMALL, "trainer=ddp_cpu", *own, small=False)
    assert finished.code == 2
    assert "several devices in a sweep" in finished.text


def test_a_broken_connection_is_the_failure_of_another_process() -> None:
    error = RuntimeError(
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer"
    )
    assert ending(error, None) == ("failed", "another process of the run failed or was killed", FAILED)
    own = "[/pytorch/third_party/gloo/gloo/transport/tcp/device.cc:208] Unable to find address for: eth9"
    assert ending(RuntimeError(own), None).error == f"RuntimeError: {own}"


def test_a_run_directory_that_a_second_process_cannot_read_is_refused(metalearn, tmp_path: Path) -> None:
    refused = metalearn("trainer=ddp_cpu", f'hydra.run.dir={tmp_path}/a"b')
    assert refused.code == 2
    message = f'hydra.run.dir={tmp_path}/a"b holds a double quote, which 2 processes cannot read: rename it'
    assert refused.text.strip() == f"metalearn: {message}"
