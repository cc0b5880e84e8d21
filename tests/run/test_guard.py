"""Hydra builds only allowed classes, also before a run can inspect its config."""

import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, Command
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from metalearn.run.command.groups import chosen
from metalearn.run.command.guard import RedactingFormatter, WatchedLoader, check_environment, check_logging

FOREIGN = "_target_: zipfile.ZipFile, file: MARK, mode: w"
HANDLER = "class: zipfile.ZipFile, file: MARK, mode: w"
"""Configs that would create a file, at the place of MARK."""


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("hydra: {callbacks: {x: {FOREIGN}}}", "hydra.callbacks.x._target_=zipfile.ZipFile is refused"),
        ("hydra: {callbacks: {x: {y: [{FOREIGN}]}}}", "_target_=zipfile.ZipFile is refused"),
        ("hydra: {job_logging: {handlers: {x: {HANDLER}}}}", "handlers.x.class='zipfile.ZipFile' is refused"),
        ("hydra: {hydra_logging: {handlers: {x: {HANDLER}}}}", "handlers.x.class='zipfile.ZipFile' is refused"),
        (
            "evil: {HANDLER}\nhydra: {job_logging: {handlers: {x: '${evil}'}}}",
            "handlers.x.class='zipfile.ZipFile' is refused",
        ),
        (
            "hydra: {job: {env_set: {METALEARN_TARGETS: zipfile.}}}\ncallbacks: {x: {FOREIGN}}",
            "hydra.job.env_set.METALEARN_TARGETS is refused",
        ),
    ],
)
def test_a_config_file_cannot_build_a_foreign_class(
    metalearn: Command, tmp_path: Path, config: str, message: str
) -> None:
    (tmp_path / "experiment").mkdir()
    text = config.replace("FOREIGN", FOREIGN).replace("HANDLER", HANDLER).replace("MARK", f"{tmp_path}/mark")
    (tmp_path / "experiment/evil.yaml").write_text(f"# @package _global_\n{text}\n")
    finished = metalearn("experiment=evil", f"hydra.searchpath=[file://{tmp_path}]", folder=tmp_path / "run")
    assert finished.code == 2
    line = finished.text.strip().splitlines()[-1]
    assert line.startswith("metalearn: ") and message in line and "Traceback" not in finished.text
    assert not (tmp_path / "mark").exists()


def test_a_class_is_checked_when_it_is_built(metalearn: Command, tmp_path: Path) -> None:
    """Checks the class again when Hydra builds it, whatever the config was at the first check."""
    (tmp_path / "experiment").mkdir()
    text = "vars: {n0: metalearn.training.callbacks.Clock, n24: zipfile.ZipFile, which: 'n${num_base_classes}'}\n"
    text += "callbacks: {x: {_target_: '${vars.${vars.which}}'}}"
    (tmp_path / "experiment/evil.yaml").write_text(f"# @package _global_\n{text}\n")
    finished = metalearn("experiment=evil", f"hydra.searchpath=[file://{tmp_path}]", folder=tmp_path / "run")
    assert finished.code == 2
    assert "callbacks.x._target_=zipfile.ZipFile is refused" in finished.text.strip().splitlines()[-1]


def test_a_sweep_is_watched_over(metalearn: Command, tmp_path: Path) -> None:
    foreign = FOREIGN.replace("MARK", f"{tmp_path}/mark")
    for place in ("callbacks", "launcher"):
        override = f"+hydra.{place}.x={{{foreign}}}"
        finished = metalearn("seed=1,2", override, f"hydra.sweep.dir={tmp_path}/sweep", "-m")
        assert finished.code == 2
        assert "_target_=zipfile.ZipFile is refused" in finished.text.strip().splitlines()[-1]
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"handlers": {"x": {"()": "os.system"}}},
        {"handlers": {"x": {"class": "logging.os.system"}}},
        {"handlers": {"x": {"class": "logging.config.listen"}}},
        {"handlers": {"x": {"class": ["logging.FileHandler"]}}},
        {"handlers": {"x": {"class": "logging.FileHandler", "queue": {"()": "queue.Queue"}}}},
        {"handlers": {"x": {"class": "logging.StreamHandler", "stream": "ext://antigravity.x"}}},
        {"formatters": {"x": {"format": ["ext://antigravity"]}}},
        {"filters": {"x": {"()": "cfg://evil"}}},
    ],
)
def test_logging_names_no_other_class(config: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"^hydra.job_logging or hydra.hydra_logging: (handlers|formatters|filters)\.x"
    ):
        check_logging(config, "")


def test_the_logging_of_hydra_is_allowed() -> None:
    handlers = {
        "console": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"},
        "file": {"class": "logging.FileHandler", "filename": "/a/b.log"},
    }
    check_logging({"handlers": handlers, "formatters": {"simple": {"()": "colorlog.ColoredFormatter"}}}, "")


@pytest.mark.parametrize(
    "name", ["METALEARN_TARGETS", "PATH", "PYTHONPATH", "LD_PRELOAD", "HYDRA_FULL_ERROR", "GIT_DIR"]
)
def test_a_config_sets_no_variable_that_chooses_code(name: str) -> None:
    with pytest.raises(ValueError, match=f"^hydra.job.env_set.{name} is refused: set it before the command"):
        check_environment({name: "x"}, [])  # type: ignore[arg-type]
    check_environment({"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}, ["HOME"])  # type: ignore[arg-type]


def test_a_variable_that_is_not_there_cannot_be_copied(metalearn: Command) -> None:
    finished = metalearn("hydra.job.env_copy=[NO_SUCH_VARIABLE]")
    assert finished.code == 2
    assert finished.text.strip() == "metalearn: hydra.job.env_copy: the environment has no variable 'NO_SUCH_VARIABLE'"


def test_messages_and_tracebacks_are_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_PAT", "ghp_abcdef")
    try:
        raise ValueError("no such host: ghp_abcdef")
    except ValueError:
        how = sys.exc_info()
    record = logging.LogRecord("x", logging.ERROR, "file", 1, "asked %s", ("https://me:pw@host",), how)
    written = RedactingFormatter(logging.Formatter("%(levelname)s %(message)s")).format(record)
    assert written.startswith("ERROR asked https://me:***@host\nTraceback")
    assert "no such host: ***" in written and "ghp_" not in written


def test_a_single_run_is_composed_once_and_as_hydra_composes_it() -> None:
    path = create_config_search_path(str(REPOSITORY / "conf"))
    typed, mode = ["seed=3", "algorithm=maml", "hydra.job.chdir=false"], ["hydra.mode=RUN"]
    watched, plain = WatchedLoader(path), ConfigLoaderImpl(path)
    first = watched.load_configuration("config", typed, RunMode.MULTIRUN, validate_sweep_overrides=False)
    assert first.hydra.mode is None
    assert watched.load_configuration("config", [*typed, *mode], RunMode.RUN) is first
    expected = plain.load_configuration("config", [*typed, *mode], RunMode.RUN)
    # Without the values of interpolations, one of which is the time.
    assert OmegaConf.to_container(first, resolve=False) == OmegaConf.to_container(expected, resolve=False)
    assert watched.load_configuration("config", [*typed, *mode], RunMode.RUN) is not first


@pytest.mark.parametrize(
    ("defaults", "typed", "expected"),
    [
        ("config, {experiment: [one, two]}", [], ["one", "two"]),
        ("config, {override experiment: [one, two]}", [], ["one", "two"]),
        ("config, {override experiment: [one]}", ["experiment=[two, more/one]"], ["two", "more/one"]),
        ("config, {override experiment: [one, two]}", ["experiment=more/one"], "more/one"),
        ("config", [], None),
    ],
)
def test_the_options_of_a_list_are_recorded(
    tmp_path: Path, defaults: str, typed: list[str], expected: str | list[str] | None
) -> None:
    """Records also a list of a config file, and not the experiments that one of them extends."""
    (tmp_path / "experiment/more").mkdir(parents=True)
    (tmp_path / "experiment/base.yaml").write_text("# @package _global_\nseed: 1\n")
    for name in ("one", "two", "more/one"):
        extended = "# @package _global_\ndefaults: [/experiment/base, _self_]\n"
        (tmp_path / f"experiment/{name}.yaml").write_text(extended + "tasks_per_batch: 2\n")
    (tmp_path / "mine.yaml").write_text(f"defaults: [{defaults}, _self_]\nseed: 3\n")
    path = create_config_search_path(str(REPOSITORY / "conf"))
    path.prepend("command-line", f"file://{tmp_path}", anchor="schema")
    assert chosen(WatchedLoader(path).load_configuration("mine", typed, RunMode.RUN).hydra, "experiment") == expected


def test_a_single_run_of_several_values_is_refused_as_by_hydra() -> None:
    path, typed = create_config_search_path(str(REPOSITORY / "conf")), ["seed=3,4"]
    watched = WatchedLoader(path)
    with suppress(HydraException):  # as where Hydra learns the mode
        watched.load_configuration("config", typed, RunMode.MULTIRUN, validate_sweep_overrides=False)
    for loader in (watched, ConfigLoaderImpl(path)):
        with pytest.raises(HydraException, match=r"Ambiguous value for argument 'seed=3,4'"):
            loader.load_configuration("config", [*typed, "hydra.mode=RUN"], RunMode.RUN)


def test_groups_are_listed_as_by_hydra_also_those_of_a_search_path(tmp_path: Path) -> None:
    path = create_config_search_path(str(REPOSITORY / "conf"))
    path.append("command-line", str(tmp_path))
    (tmp_path / "dataset/own").mkdir(parents=True)
    (tmp_path / "dataset/mine.yaml").touch()
    watched, plain = WatchedLoader(path), ConfigLoaderImpl(path)
    assert "mine" in watched.get_group_options("dataset")
    for kind in (ObjectType.GROUP, ObjectType.CONFIG, None):
        for group in ("", "hydra", "dataset", "algorithm", "nowhere"):
            assert watched.get_group_options(group, kind) == plain.get_group_options(group, kind)
    added = [f"hydra.searchpath=[file://{tmp_path}]"]
    without = create_config_search_path(str(REPOSITORY / "conf"))
    assert "mine" not in WatchedLoader(without).get_group_options("dataset")
    assert "mine" in WatchedLoader(without).get_group_options("dataset", overrides=added)
