"""Writes records of finished runs to docs/records/: command, versions and result, no weights.

    python scripts/keep_record.py RUN...

A record is one JSON file for a run, named after its experiment and seed. It replaces an earlier one
of the same command, and no other. scripts/write_tables.py makes the tables of the pages from the
records. tests/project/test_records.py composes each record's command again.
"""

import argparse
import csv
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from metalearn.run.directory.result import Result

RECORDS = Path(__file__).resolve().parent.parent / "docs/records"
MACHINE_KEYS = ("paths", "callbacks", "logger", "resume")
"""Keys of the config that set a run's files and output, and do not change its result."""


def record(run: Path) -> dict[str, Any]:
    """Returns the record of a run directory. Raises ValueError for an incomplete run."""
    result = Result.from_json(run / "result.json")
    if result.status != "completed" or not (measured := result.measured("test")):
        raise ValueError(f"{run} is {result.status}; only completed runs have a record")
    config = yaml.safe_load((run / "hparams.yaml").read_text())
    places = {str(Path(path).absolute()): f"${{paths.{name}}}" for name, path in config["paths"].items()}
    kept = {name: value for name, value in config.items() if name not in MACHINE_KEYS}
    with (run / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/loss")]
    overrides = [override for override in result.overrides if not override.startswith(("paths.", "resume="))]
    return {
        "command": " ".join(["python -m metalearn", *overrides]),
        "result": json.loads(replace(result, overrides=overrides).to_json()),
        "config": _without(kept, places),
        "validation": {int(row["step"]): round(float(row[f"val/{measured.name}"]), 5) for row in rows},
    }


def write(kept: dict[str, Any]) -> Path:
    """Writes a record. Raises ValueError if its file is the record of another command."""
    path = RECORDS / f"{name(kept)}.json"
    earlier = json.loads(path.read_text())["command"] if path.is_file() else kept["command"]
    if set(earlier.split()) != set(kept["command"].split()):
        raise ValueError(f"{path} is the record of another command, {earlier}: remove it first to replace it")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return path


def name(kept: dict[str, Any]) -> str:
    result = Result.from_json(json.dumps(kept["result"]))
    what = result.experiment or f"{result.dataset}-{result.algorithm}-{result.backbone}"
    if not isinstance(what, str):
        what = "-".join(what)
    return f"{re.sub('[^a-zA-Z0-9_.-]', '-', what)}-seed{result.seed}"


def _without(value: Any, places: dict[str, str]) -> Any:
    """Returns a value with keys such as ${paths.data} for the folders of this machine."""
    if isinstance(value, dict):
        return {key: _without(child, places) for key, child in value.items()}
    if isinstance(value, list):
        return [_without(child, places) for child in value]
    if isinstance(value, str):
        for path, key in places.items():
            value = value.replace(path, key)
        if value.startswith("/"):
            raise ValueError(f"the config holds the path {value} of this machine: give it as a key of paths")
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="a run directory")
    try:
        for run in parser.parse_args().runs:
            print(write(record(run)))
    except (ValueError, OSError) as error:
        sys.exit(f"keep_record: {error}")


if __name__ == "__main__":
    main()
