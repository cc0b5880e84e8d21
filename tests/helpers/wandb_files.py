"""Files of offline W&B runs, read back."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    return read(path)


def named(items: Any) -> dict[str, Any]:
    """Returns the values of a record by their names."""
    return {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in items}


def read(path: Path) -> dict[str, Any]:
    """Reads the file of an offline W&B run."""
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    run: dict[str, Any] = {"config": {}, "history": [], "summary": {}, "metrics": {}, "artifacts": []}
    for data in records(path):
        record = pb.Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            fields = ("run_id", "display_name", "entity", "project", "run_group", "job_type", "notes")
            run |= {name: getattr(record.run, name) for name in fields} | {"tags": list(record.run.tags)}
        if kind in ("run", "config"):
            update = record.run.config.update if kind == "run" else record.config.update
            run["config"] |= {item.key or item.nested_key[0]: json.loads(item.value_json) for item in update}
        elif kind == "history":
            run["history"].append(named(record.history.item))
        elif kind == "summary":
            run["summary"] |= named(record.summary.update)
        elif kind == "metric":
            run["metrics"][record.metric.name or record.metric.glob_name] = record.metric
        elif kind == "artifact":
            run["artifacts"].append(record.artifact)
        elif kind == "exit":
            run["exit_code"] = record.exit.exit_code
    return run
