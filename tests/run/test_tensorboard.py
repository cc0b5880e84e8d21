"""Runs as the HParams page of TensorBoard shows them, read back by TensorBoard itself."""

from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context
from tensorboard.plugins.hparams.list_session_groups import Handler

from metalearn.run.command.overrides import expand


def row(folder: Path) -> Any:
    """Returns the row of the only run below a folder."""
    events = plugin_event_multiplexer.EventMultiplexer()
    events.AddRunsFromDirectory(str(folder))
    events.Reload()
    provider = data_provider.MultiplexerDataProvider(events, str(folder))
    context = backend_context.Context(TBContext(logdir=str(folder), data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(slice_size=9, allowed_statuses=api_pb2.Status.values())
    (group,) = Handler(RequestContext(), context, "", request).run().session_groups
    return group


def test_a_resumed_run_has_its_new_hyperparameters_beside_its_new_result(metalearn) -> None:
    first = metalearn("logger=tensorboard", "trainer.max_steps=4")
    assert first.code == 0, first.text
    resumed = metalearn(f"resume={first.folder}", "trainer.max_steps=8", folder=first.folder)
    assert resumed.code == 0, resumed.text
    group = row(resumed.folder)
    assert group.hparams["trainer/max_steps"].number_value == 8
    assert group.hparams["choice/algorithm"].string_value == "prototypical"
    (session,) = group.sessions
    assert session.status == api_pb2.STATUS_SUCCESS
    metrics = {metric.name.tag: metric for metric in session.metric_values}
    assert metrics["steps"].value == metrics["selected/test_accuracy"].training_step == 8
    assert metrics["selected/test_accuracy"].value == pytest.approx(resumed.test["accuracy"]["mean"])
    (hparams,) = resumed.folder.glob("tensorboard/*/hparams.yaml")
    assert "max_steps: 8" in hparams.read_text()


def test_a_failed_run_is_shown_as_failed(metalearn, tmp_path: Path) -> None:
    done = metalearn("logger=tensorboard", "optimizer.lr=1e30", folder=tmp_path)
    assert done.code == 1
    (session,) = row(tmp_path).sessions
    assert session.status == api_pb2.STATUS_FAILURE


def test_a_list_of_experiments_is_named_in_result_and_log(metalearn, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    for name, value in (("first", "seed: 3"), ("second", "tasks_per_batch: 2")):
        (tmp_path / f"experiment/{name}.yaml").write_text(f"# @package _global_\n{value}\n")
    listed = "experiment=[first,second]"
    run = metalearn(f"hydra.searchpath=['file://{tmp_path}']", listed, "logger=tensorboard", "trainer.max_steps=2")
    assert run.code == 0, run.text
    assert run.result["experiment"] == ["first", "second"]
    (hparams,) = run.folder.glob("tensorboard/*/hparams.yaml")
    assert yaml.safe_load(hparams.read_text())["choice"]["experiment"] == ["first", "second"]
    test = ["mode=test", f"checkpoint={run.folder}"]
    assert listed in expand([*test, listed])
    with pytest.raises(ValueError, match=r"^experiment=\[first\] is refused, since the weights are of experiment="):
        expand([*test, "experiment=[first]"])
