"""Wrong settings of launchers and sweepers: one line that names the key."""

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from metalearn import hydra_plugins
from metalearn.search.sweeper import OptunaSweeper
from metalearn.sweep.jobs import Job
from metalearn.sweep.ray.launcher import RayLauncher
from metalearn.sweep.settings import check_settings
from metalearn.sweep.slots import Slots
from metalearn.sweep.slurm.launcher import SlurmLauncher
from metalearn.sweep.subprocess_launcher import SubprocessLauncher

CONF = Path(hydra_plugins.__file__).parents[2] / "conf/hydra"
FILES = {
    SubprocessLauncher: "launcher/subprocess.yaml",
    SlurmLauncher: "launcher/slurm.yaml",
    RayLauncher: "launcher/ray.yaml",
    OptunaSweeper: "sweeper/optuna.yaml",
}


def made(plugin: type, **settings: Any) -> tuple[Any, Any, str]:
    """Builds a plugin with its config: the settings of its file and the given ones."""
    file = FILES[plugin]
    group = file.partition("/")[0]
    config = OmegaConf.create({"hydra": {group: OmegaConf.load(CONF / file), "sweep": {"dir": "out"}}})
    config.hydra[group] = {**config.hydra[group], **settings}
    node = {name: value for name, value in config.hydra[group].items() if name not in ("_target_", "_convert_")}
    return plugin(**node), config, f"hydra.{group}"


@pytest.mark.parametrize("plugin", FILES)
def test_the_settings_of_the_files_are_right(plugin: type) -> None:
    check_settings(*made(plugin))


@pytest.mark.parametrize(
    ("plugin", "settings", "message"),
    [
        (OptunaSweeper, {"storage": None}, "hydra.sweeper.storage=null is not of the type str"),
        (OptunaSweeper, {"seeds": 3}, "hydra.sweeper.seeds=3 is not of the type list"),
        (OptunaSweeper, {"start": None}, "hydra.sweeper.start=null is not of the type list"),
        (OptunaSweeper, {"params": None}, "hydra.sweeper.params=null is not of the type"),
        (OptunaSweeper, {"seed": "x"}, "hydra.sweeper.seed='x' is not of the type int | None"),
        (OptunaSweeper, {"pruner": "best"}, "hydra.sweeper.pruner='best' is not of the type Literal"),
        (OptunaSweeper, {"sampler": {"_target_": "optuna.samplers.TPESampler"}}, "hydra.sweeper.sampler={"),
        (OptunaSweeper, {"n_trials": "many"}, "hydra.sweeper.n_trials='many' is not of the type int"),
        (SubprocessLauncher, {"slots": True}, "hydra.launcher.slots=True is not of the type"),
        (SubprocessLauncher, {"slots": None}, "hydra.launcher.slots=null is not of the type"),
        (SubprocessLauncher, {"retries": "often"}, "hydra.launcher.retries='often' is not of the type int"),
        (SubprocessLauncher, {"timeout": {"a": 1}}, "hydra.launcher.timeout={'a': 1} is not of the type float | None"),
        (SubprocessLauncher, {"preload": "maybe"}, "hydra.launcher.preload='maybe' is not of the type bool"),
        (SlurmLauncher, {"timeout_min": 1.5}, "hydra.launcher.timeout_min=1.5 is not of the type int"),
        (SlurmLauncher, {"setup": None}, "hydra.launcher.setup=null is not of the type"),
        (SlurmLauncher, {"mem_gb": "4G"}, "hydra.launcher.mem_gb='4G' is not of the type float | None"),
        (SlurmLauncher, {"additional_parameters": [1]}, "hydra.launcher.additional_parameters=[1] is not of the type"),
        (RayLauncher, {"num_cpus": True}, "hydra.launcher.num_cpus=True is not of the type float"),
        (RayLauncher, {"address": 3}, "hydra.launcher.address=3 is not of the type str | None"),
    ],
)
def test_a_setting_of_another_type_is_named(plugin: type, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as raised:
        check_settings(*made(plugin, **settings))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("plugin", "package"), [(SlurmLauncher, "submitit"), (RayLauncher, "ray")])
def test_a_missing_package_is_named(
    plugin: type, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "metalearn.sweep.slurm.batch", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    launcher, *_ = made(plugin)
    name = FILES[plugin].partition("/")[2].removesuffix(".yaml")
    with pytest.raises(ValueError, match=rf"pip install -e '\.\[{name}\]' in the checkout$"):
        launcher.make_slots(tmp_path)


@pytest.mark.parametrize("storage", ["postgresql://me:hunter2@host/db", "mysql://host/db?user=me&password=hunter2"])
def test_a_password_in_the_storage_is_not_written_for_slurm(storage: str, tmp_path: Path) -> None:
    launcher, *_ = made(SlurmLauncher)
    job = Job(0, [], tmp_path, {"STORAGE": storage})
    with pytest.raises(ValueError, match=r"^the password in hydra\.sweeper\.storage would be written into a file"):
        launcher.start(Slots(["0"], gpu=False, threads=1), job, ["0"], io.StringIO())


def test_hydras_plugin_for_optuna_is_not_ours() -> None:
    plugin = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
    line = hydra_plugins.explained(RuntimeError(f"Unknown plugin class : '{plugin}'"))
    assert line is not None
    assert line.startswith(f"there is no plugin {plugin}: ")
    assert "hydra/sweeper=optuna" in line
    assert hydra_plugins.explained(RuntimeError("CUDA out of memory")) is None
