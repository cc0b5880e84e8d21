"""scripts/wandb_sweep.yaml: the command lines of W&B's own agent, without W&B's server."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY, composed, resolved
from omegaconf import OmegaConf

from metalearn.losses import OBJECTIVES

SWEEP: dict[str, Any] = yaml.safe_load((REPOSITORY / "scripts/wandb_sweep.yaml").read_text())


def drawn(which: str) -> dict[str, float]:
    """Returns the smallest, the largest or a middle value of each parameter."""
    middle = {key: (span["min"] * span["max"]) ** 0.5 for key, span in SWEEP["parameters"].items()}
    return middle if which == "middle" else {key: span[which] for key, span in SWEEP["parameters"].items()}


def command_line(values: dict[str, float], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns the command that the agent starts for these values."""
    wandb_agent = pytest.importorskip("wandb.wandb_agent")
    started: list[list[str]] = []

    def process(*, command: list[str], **_: Any) -> SimpleNamespace:
        started.append(command)
        return SimpleNamespace()

    monkeypatch.setattr(wandb_agent, "AgentProcess", process)
    monkeypatch.chdir(folder)  # the agent writes the values to the current folder
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_SWEEP_ID"):
        # The agent sets these variables, and the test restores them.
        monkeypatch.setenv(name, "of-the-agent")
    agent = SimpleNamespace(
        _sweep_command=list(SWEEP["command"]),
        _function=None,
        _in_jupyter=False,
        _forward_signals=False,
        _run_processes={},
    )
    args = {key: {"value": value} for key, value in values.items()}
    sent = {"type": "run", "run_id": "a1b2c3d4", "program": SWEEP["program"], "args": args}
    wandb_agent.Agent._command_run(agent, sent)
    (command,) = started
    return command


@pytest.mark.parametrize("which", ["min", "middle", "max"])
def test_the_agents_command_composes_with_its_values(which: str, tmp_path: Path, monkeypatch) -> None:
    values = drawn(which)
    command = command_line(values, tmp_path, monkeypatch)
    assert command[:4] == ["/usr/bin/env", "python", "-m", "metalearn"]
    config = composed(*command[4:])
    assert config.algorithm["_target_"].endswith("MAML")
    assert config.logger.wandb is not None
    for key, value in values.items():
        assert OmegaConf.select(config, key) == pytest.approx(value)


def test_the_agents_command_is_accepted_as_it_stands(tmp_path: Path, monkeypatch, environment: dict[str, str]) -> None:
    command = command_line(drawn("middle"), tmp_path, monkeypatch)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*command, "--cfg", "job"], env={**environment, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["optimizer"]["lr"] == pytest.approx(drawn("middle")["optimizer.lr"])


def test_the_metric_is_what_the_best_checkpoint_is_chosen_by() -> None:
    score = OBJECTIVES[resolved("algorithm=maml")["problem"]].score_name
    assert SWEEP["metric"] == {"name": f"selected/val_{score}", "goal": "maximize"}


def test_every_parameter_is_a_number_of_the_config_within_its_bounds() -> None:
    config = composed("algorithm=maml")
    for key, bounds in SWEEP["parameters"].items():
        assert bounds["min"] <= OmegaConf.select(config, key) <= bounds["max"], key
