"""The algorithms of docs/extending.md, typed into a user's package, train unchanged."""

import os
import re
from pathlib import Path

import pytest
from conftest import REPOSITORY

PAGE = (REPOSITORY / "docs/extending.md").read_text()
FILES = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))


@pytest.mark.parametrize("name", ["nearest", "heavy_ball"])
def test_an_algorithm_of_the_page_trains(
    fresh_metalearn, environment: dict[str, str], tmp_path: Path, name: str
) -> None:
    module = FILES[f"metalearn/algorithms/{name}.py"]
    assert len(module.splitlines()) <= 25
    (tmp_path / f"own_{name}.py").write_text(module)
    for path, text in FILES.items():
        if path.startswith("conf/") and name in path:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text.replace("metalearn.algorithms.", "own_"))
    places = os.pathsep.join([str(tmp_path), environment.get("PYTHONPATH", "")])
    own = {**environment, "METALEARN_TARGETS": f"own_{name}.", "PYTHONPATH": places}
    options = f"hydra.searchpath=[file://{tmp_path}/conf]"
    run = fresh_metalearn(options, f"algorithm={name}", folder=tmp_path / "run", environment=own)
    assert run.code == 0, run.text
    assert run.result["algorithm"] == name
