"""Classes that a config may name, and the times of the check."""

from typing import Any

import pytest
from conftest import resolved
from hypothesis import given, settings
from hypothesis import strategies as st

from metalearn.run.checks.config import check_config
from metalearn.run.command.allowed import allowed, check_name, check_targets


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("os.system", "is refused: it is not in metalearn.algorithms., "),
        ("lightning.pytorch.cli.instantiate_class", "is refused: it is not in"),
        ("metalearn.sweep.jobs.FreshProcess", "is refused: it is not in"),
        ("metalearn.run.assembly.instantiate", "is refused: it is not a class of metalearn$"),
        ("metalearn.run.assembly.Path", "is refused: it is not a class of metalearn$"),
        ("metalearn.data.files.download.download", "is refused: it is not a class of metalearn$"),
        ("torch.nn.modules.module.torch", "is refused: it is not a class of torch$"),
        ("metalearn.run.directory.result.subprocess.run", "cannot be imported: No module named"),
        ("metalearn.data.nowhere.Thing", "cannot be imported: No module named"),
        ("metalearn.data.glyphs.", "cannot be imported: "),
        ("${evil}", "is refused: the name of a class must be written out$"),
        (1, "is not the name of a class$"),
        (None, "is not the name of a class$"),
        ({"a": "b"}, "is not the name of a class$"),
        (["torch.nn.ReLU"], "is not the name of a class$"),
    ],
)
@pytest.mark.parametrize("place", [lambda node: {"x": node}, lambda node: {"x": [{"y": node}]}])
def test_a_foreign_class_is_refused_wherever_it_is(target: Any, message: str, place: Any) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        check_targets(place({"_target_": target}))
    assert str(raised.value).startswith("x") and "\n" not in str(raised.value)


def test_check_config_refuses_them_too() -> None:
    for override in ("algorithm._target_=os.system", "optimizer={_target_:1}", "+callbacks.x._target_={a:b}"):
        with pytest.raises(ValueError, match=r"^\S+\._target_=.* is (refused|not of the type str)"):
            check_config(resolved(override))


def test_an_interpolation_that_is_left_is_refused() -> None:
    """Refuses interpolations, which would be resolved after the check, during the build."""
    for text in ("${oc.create:{_target_:os.system}}", "a ${b}"):
        with pytest.raises(ValueError, match=r"^callbacks\.x\[0\]='.*' is refused: it holds an interpolation"):
            check_targets({"callbacks": {"x": [text]}})


def test_the_default_config_is_allowed() -> None:
    check_targets(resolved("algorithm=maml", "trainer=debug"))


def test_a_foreign_package_is_allowed_by_the_environment_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed.cache_clear()
    with pytest.raises(ValueError, match=r"is refused: it is not in .*; METALEARN_TARGETS=own\. in the environment"):
        check_name("own.Optimizer", "optimizer")
    monkeypatch.setenv("METALEARN_TARGETS", "own.,")
    # The variable is read only at the start.
    with pytest.raises(ValueError, match="is refused: it is not in"):
        check_name("own.Optimizer", "optimizer")
    allowed.cache_clear()
    assert check_name("own.Optimizer", "optimizer") == "own.Optimizer"
    with pytest.raises(ValueError, match="is refused: it is not in"):
        check_name("os.system", "optimizer")
    allowed.cache_clear()
    monkeypatch.undo()


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KEYS = st.text("abz._0é", max_size=4)
NODES = st.recursive(
    LEAVES, lambda children: st.lists(children, max_size=3) | st.dictionaries(KEYS, children, max_size=3)
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    NODES, st.lists(st.sampled_from(["key", 0]), max_size=5), LEAVES | st.sampled_from(["os.system", "torch.nn.Evil"])
)
def test_a_class_is_found_at_any_depth(sibling: Any, way: list[Any], target: Any) -> None:
    node: Any = {"_target_": target, "other": sibling}
    for step in way:
        node = [sibling, node] if step == 0 else {"first": sibling, "x": node}
    with pytest.raises(ValueError, match="^root[^\n]*$"):
        check_targets({"root": node})
