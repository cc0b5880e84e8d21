"""Shared fixtures: a small bank, small episodes, and the command line on tiny data."""

import copy
import functools
import json
import os

# Set before torch is imported, because the tests run one process for each core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import forked_sweeps
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from sweeping import PATIENCE
from torch.nn import functional as F

import metalearn.__main__  # registers the resolvers of the configs
import metalearn.run.process.torchmetrics_imports  # before Lightning, as in a run
from metalearn.data.bank import ClassBank
from metalearn.sweep import forks
from metalearn.sweep.forks import ForkedProcess
from metalearn.sweep.logs import ENDED
from metalearn.types import Episode

# A shell ignores SIGINT in what it starts in the background, and processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).parents[1]

SMALL = [
    "dataset.num_alphabets=[3,1,1]",
    "dataset.characters=8",
    "backbone.channels=8",
    "episode.train.way=5",
    "episode.train.query=2",
    "episode.val.num_episodes=5",
    "episode.test.num_episodes=7",
    "trainer.val_check_interval=4",
    "trainer.log_every_n_steps=1",
    "trainer.max_steps=10",
]
"""Overrides of a run of a second or two, on the smallest glyphs."""

VALUE = re.compile(r"\+{0,2}(?!hydra\.)\w+(\.\w+)+=|(seed|num_base_classes|batch_norm|tasks_per_batch)=")
"""Override of a value, and not the choice of a file."""


def pytest_xdist_auto_num_workers() -> int:
    """Returns one process more than cores, since many tests wait for other processes."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts long tests first, so that the test processes end at about the same time."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seeds each test, before its fixtures, so that no test depends on those that ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@dataclass(frozen=True)
class Finished:
    """Result of a command that has ended."""

    code: int
    text: str  # stdout and stderr
    folder: Path

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.folder / "result.json").read_text())

    @property
    def test(self) -> dict[str, Any]:
        return self.result["test"]

    def checkpoint(self, name: str = "last") -> dict[str, Any]:
        return torch.load(self.folder / f"checkpoints/{name}.ckpt", weights_only=True)


Command = Callable[..., Finished]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def environment(cache: Path) -> dict[str, str]:
    """Environment without accelerator and network, with one thread, since tests share the cores."""
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "METALEARN"))},
        "METALEARN_CACHE": str(cache),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "offline",
        "COLUMNS": "200",
    }


@pytest.fixture(scope="session")
def metalearn(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Runs a command line to its end in its own run directory: metalearn("seed=1") -> Finished.

    The run is a fork of a process that has imported everything, as in a sweep with preload=true,
    because the imports take longer than the run. A sweep with
    preload=true forks its jobs from it too.
    """

    def call(
        *overrides: str,
        folder: Path | None = None,
        small: bool = True,
        named: bool = True,
        environment: dict[str, str] = environment,
        meanwhile: Callable[[ForkedProcess], None] = lambda process: None,
    ) -> Finished:
        folder = folder or tmp_path_factory.mktemp("run")
        log = tmp_path_factory.mktemp("log") / "stdout.log"
        with log.open("a") as held:
            words = arguments(overrides, folder if named else None, small)
            with patch.object(forks, "_work", forked_sweeps.work):
                process = ForkedProcess(words, log=log, environment=environment, held=held)
            meanwhile(process)
            deadline = time.monotonic() + PATIENCE
            while (code := process.exit_code()) is None:
                if time.monotonic() > deadline:
                    process.send(signal.SIGKILL)
                time.sleep(0.01)
        text = log.read_text().partition("\n")[2].rpartition(ENDED)[0]
        return Finished(code, text, folder)

    return call


@pytest.fixture(scope="session")
def fresh_metalearn(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Runs `python -m metalearn`, for commands that start others: two processes, and sweeps."""

    def call(
        *overrides: str, folder: Path | None = None, small: bool = True, environment: dict[str, str] = environment
    ) -> Finished:
        folder = folder or tmp_path_factory.mktemp("run")
        done = subprocess.run(
            [sys.executable, "-m", "metalearn", *arguments(overrides, folder, small)],
            env=environment,
            cwd=tmp_path_factory.getbasetemp(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Finished(done.returncode, done.stdout, folder)

    return call


def arguments(overrides: Sequence[str], folder: Path | None, small: bool) -> list[str]:
    """Returns a command line that runs in `folder`, unless it names another one."""
    placed = folder is None or any(override.startswith(("resume", "-", "hydra.run.dir")) for override in overrides)
    return [*(SMALL if small else []), *overrides, *([] if placed else [f"hydra.run.dir={folder}"])]


@pytest.fixture
def bank() -> ClassBank:
    """Bank of 12 classes of 10 images, 16 x 16 pixels of noise."""
    images = np.random.default_rng(0).integers(0, 256, (12, 10, 1, 16, 16), dtype=np.uint8)
    return ClassBank.from_classes(images, [f"class{i}" for i in range(12)])


def episode(*, tasks: int = 2, way: int = 3, shot: int = 2, query: int = 4, size: int = 16, seed: int = 0) -> Episode:
    """Draws a batch of random tasks in which the images of a class have a common part."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.rand(tasks, way, 1, size, size, generator=generator)

    def rows(per_class: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = patterns.repeat(1, per_class, 1, 1, 1)
        y = F.one_hot(torch.arange(way).repeat(per_class), way).float().expand(tasks, -1, -1)
        return x + 0.3 * torch.rand(x.shape, generator=generator), y

    return Episode(*rows(shot), *rows(query))


@functools.cache
def composition(overrides: tuple[str, ...]) -> tuple[DictConfig, DictConfig]:
    """Composes the config of a run, and that of Hydra."""
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config = compose("config", ["hydra.runtime.output_dir=out", *overrides], return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]), HydraConfig.instance().cfg


def composed_at_once(*overrides: str) -> DictConfig:
    """Composes the config of a run, and sets that of Hydra, which has all overrides too."""
    config, HydraConfig.instance().cfg = composition(overrides)
    return copy.deepcopy(config)


def composed(*overrides: str) -> DictConfig:
    """Composes the config of a run without running it.

    As Hydra does, it composes the choices first and then changes values; composing takes two
    hundred times longer than a value, so it is done once for the same choices. The config of Hydra
    has the choices alone.
    """
    values = [override for override in overrides if VALUE.match(override)]
    config = composed_at_once(*(override for override in overrides if override not in values))
    OmegaConf.set_struct(config, True)  # a key that is not there is refused
    ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides(values), config)
    OmegaConf.set_struct(config, None)
    return config


def resolved(*overrides: str) -> dict[str, Any]:
    """Composes the config of a run to a plain dictionary."""
    return OmegaConf.to_container(composed(*overrides), resolve=True)  # type: ignore[return-value]
