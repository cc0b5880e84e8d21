"""The plan of a run: its config, resolved and checked, before anything is built."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from metalearn.run.checks.config import check_config
from metalearn.run.checks.trainer import check_devices
from metalearn.run.command.allowed import check_targets, locate
from metalearn.run.command.groups import chosen, typed_overrides
from metalearn.run.directory.checkpoint_file import best_of, read_origin
from metalearn.run.directory.folder import RunFolder
from metalearn.run.directory.origin import Origin
from metalearn.run.process.machine import accelerator
from metalearn.run.settings import composed_settings


@dataclass(frozen=True)
class Plan:
    """A resolved config, and facts from Hydra."""

    config: dict[str, Any]  # resolved, plain and checked config; exactly this is instantiated
    folder: RunFolder
    settings: dict[str, Any]  # settings that the numbers depend on, references unresolved
    choices: dict[str, str]  # names of the dataset, the algorithm and the backbone
    test_dataset: str  # name of the data set of meta-test
    experiment: str | list[str] | None  # several of a list, such as experiment=[a,b]
    overrides: list[str]  # typed overrides; interpolations stay, since they may stand for a secret
    flags: list[str]  # --config-dir and --config-name with their words, if typed
    cwd: Path

    @property
    def tests_only(self) -> bool:
        return bool(self.config["mode"] == "test")

    @property
    def trained_before(self) -> Path | None:
        """Checkpoint that the run tests, continues or begins with: an algorithm or a backbone."""
        if self.resumes:
            return self.folder.last
        path = self.config["checkpoint"] or self.config["pretrained"]
        return best_of(Path(path)) if path else None

    @cached_property
    def origin(self) -> Origin | None:
        """The run that trained the weights before, if any.

        Raises as `read_origin` does.
        """
        return read_origin(self.trained_before) if self.trained_before else None

    @property
    def class_split(self) -> int | None:
        """Number of the class split of the data set, if it has several and no other is tested."""
        if self.config.get("test_dataset") or not getattr(self.tested_dataset, "has_class_splits", False):
            return None
        split: int = self.config["dataset"]["fold"]
        return split

    @property
    def tested_dataset(self) -> type:
        """Class of the data set of meta-test."""
        part = self.config.get("test_dataset") or self.config["dataset"]
        found: type = locate(part["_target_"], "dataset")
        return found

    @property
    def trains_nothing(self) -> bool:
        """Whether the run tests an algorithm that no run has trained."""
        return self.tests_only and not self.config["checkpoint"]

    @property
    def resumes(self) -> bool:
        """Whether a training resumes from its last checkpoint; without one it begins anew."""
        return bool(self.config["resume"]) and self.folder.last.is_file()

    @property
    def command(self) -> list[str]:
        """Words of the command that repeats the run."""
        return ["python", "-m", "metalearn", *self.flags, *self.overrides]

    @property
    def resume_command(self) -> list[str]:
        """Words of the command that resumes the run."""
        return ["python", "-m", "metalearn", *self.flags, f"resume={self.folder.path}"]


def resolve(config: DictConfig, folder: RunFolder) -> Plan:
    """Checks and resolves a composed config. Raises ValueError in one line if it cannot run."""
    hydra = HydraConfig.get()
    options = hydra.runtime.choices
    typed_folder = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    named = ["--config-name", str(hydra.job.config_name)] if hydra.job.config_name != "config" else []
    plain = _checked(config)
    plain["trainer"]["accelerator"] = accelerator(plain["trainer"]["accelerator"])
    check_devices(plain["trainer"], torch.cuda.device_count())
    if hydra.mode == RunMode.MULTIRUN and plain["trainer"]["devices"] not in (1, "1"):
        raise ValueError("several devices in a sweep need a process for each job: use hydra/launcher=subprocess")
    return Plan(
        plain,
        folder,
        composed_settings(config),
        choices={name: options[name] for name in ("dataset", "algorithm", "backbone")},
        test_dataset=options.get("dataset@test_dataset") or options["dataset"],
        experiment=chosen(hydra, "experiment"),
        overrides=typed_overrides(hydra),
        flags=[*(["--config-dir", *typed_folder] if typed_folder else []), *named],
        cwd=Path(hydra.runtime.cwd),
    )


def with_base_classes(plan: Plan, config: DictConfig, num_base_classes: int) -> Plan:
    """Returns the plan with the number of meta-train classes wherever the config refers to it."""
    counted = OmegaConf.merge(config, {"num_base_classes": num_base_classes})
    assert isinstance(counted, DictConfig)
    plain = _checked(counted)
    plain["trainer"] = plan.config["trainer"]
    return replace(plan, config=plain)


def _checked(config: DictConfig) -> dict[str, Any]:
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    check_config(plain)
    check_targets(plain)
    return plain
