"""Logs, read back; test_run covers metrics.csv, this file covers W&B."""

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL

from metalearn.run.loggers import sweep_of, wandb_logger

BLOCK = 32768  # block size of W&B's file, a LevelDB log


def records(path: Path) -> Iterator[bytes]:
    """Yields the records of an offline run's file: a header of 7 bytes, then blocks of fragments.

    A fragment has a checksum, a length and a type.
    """
    data, at, whole = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # no room for a fragment: the rest of the block is padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        at += 7
        whole += data[at : at + length]
        at += length
        if kind in (1, 4):  # full record, or last fragment of one
            yield whole
            whole = b""


def wandb_run(folder: Path) -> dict[str, Any]:
    """Reads the only W&B run of a run directory."""
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    run: dict[str, Any] = {"config": {}, "history": []}
    for data in records(path):
        record = pb.Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run |= {"id": record.run.run_id, "job_type": record.run.job_type, "tags": list(record.run.tags)}
        if kind in ("run", "config"):
            update = record.run.config.update if kind == "run" else record.config.update
            run["config"] |= {item.key or item.nested_key[0]: json.loads(item.value_json) for item in update}
        elif kind == "history":
            items = record.history.item
            run["history"].append({(i.key or "/".join(i.nested_key)): json.loads(i.value_json) for i in items})
        elif kind == "exit":
            run["exit_code"] = record.exit.exit_code
    return run


@pytest.fixture(scope="module")
def folder(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with W&B, without an API key, and with a secret in the config."""
    folder = tmp_path_factory.mktemp("wandb")
    secret = ["+vars.api_token=${oc.env:PLANTED}"]
    command = [sys.executable, "-m", "metalearn", *SMALL, "logger=wandb", *secret, f"hydra.run.dir={folder}"]
    # The environment has neither key nor mode, and HOME has no .netrc, so the run must choose
    # offline mode itself.
    env = {k: v for k, v in environment.items() if k != "WANDB_MODE"}
    env |= {"PLANTED": "hunter2hunter2", "HOME": str(folder), "NETRC": str(folder / "none")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_wandb_has_one_run_that_says_what_it_is(folder: Path) -> None:
    run = wandb_run(folder)
    assert run["id"] == (folder / "wandb_id").read_text()
    assert (run["job_type"], run["exit_code"]) == ("prototypical", 0)
    assert run["tags"] == ["glyphs", "conv4"]
    assert run["config"]["episode"]["test"]["num_episodes"] == 7
    logged = {key for row in run["history"] for key in row}
    assert {"train/loss", "train/accuracy", "val/accuracy", "test/accuracy"} <= logged
    assert sum("val/accuracy" in row for row in run["history"]) == 3
    (media,) = (json.dumps(row) for row in run["history"] if any("test/episode" in key for key in row))
    assert "image-file" in media or "images/separated" in media
    assert list((folder / "wandb").rglob("media/images/test/episode*.png"))
    assert list((folder / "wandb").rglob("media/table/test/confusion*.json"))


def test_no_file_of_a_run_holds_a_secret(folder: Path) -> None:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert len(paths) > 8
    assert not [path for path in paths if b"hunter2" in path.read_bytes()]
    assert wandb_run(folder)["config"]["vars"]["api_token"] == "***"


def test_a_failed_run_of_an_agent_has_its_id_and_is_not_shown_as_finished(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").write_text("")  # a file instead of a folder
    command = [sys.executable, "-m", "metalearn", *SMALL, "logger=wandb", f"hydra.run.dir={tmp_path}"]
    of_agent = {"WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "chosen1"}
    done = subprocess.run(command, env=environment | of_agent, capture_output=True, timeout=120, check=False)
    run = wandb_run(tmp_path)
    assert done.returncode == run["exit_code"] == 1
    assert run["id"] == (tmp_path / "wandb_id").read_text() == "chosen1"


def test_wandb_online_without_a_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setattr(wandb, "login", lambda prompt: False)
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(ValueError, match="^WANDB_MODE=online needs an API key: set WANDB_API_KEY"):
        wandb_logger(str(tmp_path), "project", None, "maml", [])


def test_tensorboard_writes_events(metalearn) -> None:
    pytest.importorskip("tensorboard")
    finished = metalearn("logger=tensorboard")
    assert finished.code == 0, finished.text
    assert list(finished.folder.glob("tensorboard/events*"))
    assert (finished.folder / "metrics.csv").is_file()


def test_a_job_of_a_sweep_is_grouped_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "shots" / "3").mkdir(parents=True)
    assert sweep_of(tmp_path / "shots" / "3") is None
    (tmp_path / "shots" / "sweep.json").write_text("{}")
    assert sweep_of(tmp_path / "shots" / "3") == "shots"
