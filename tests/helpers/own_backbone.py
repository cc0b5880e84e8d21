"""A backbone of a user's own module, as an option of the group `backbone`."""

import textwrap
from pathlib import Path

import pytest
from conftest import SMALL


def own_backbone(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> tuple[list[str], str]:
    """Writes the module own_NAME with the class Own, and the option NAME.

    Returns the overrides of a small run on it, and METALEARN_TARGETS.
    """
    (folder / "conf/backbone").mkdir(parents=True)
    (folder / f"conf/backbone/{name}.yaml").write_text(f"_target_: own_{name}.Own\n")
    (folder / f"own_{name}.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(folder)  # a fork searches for modules where its parent does
    small = [option for option in SMALL if not option.startswith("backbone")]
    return [*small, f"hydra.searchpath=[file://{folder}/conf]", f"backbone={name}"], f"own_{name}."
