"""The algorithms of docs/extending.md, typed into a user's package, train unchanged."""

import re
from pathlib import Path

import pytest
from conftest import REPOSITORY, Command

PAGE = (REPOSITORY / "docs/extending.md").read_text()
FILES = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))


@pytest.mark.parametrize("name", ["nearest", "heavy_ball"])
def test_an_algorithm_of_the_page_trains(
    metalearn: Command, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module = FILES[f"metalearn/algorithms/{name}.py"]
    assert len(module.splitlines()) <= 25
    (tmp_path / f"own_{name}.py").write_text(module)
    for path, text in FILES.items():
        if path.startswith("conf/") and name in path:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text.replace("metalearn.algorithms.", "own_"))
    monkeypatch.syspath_prepend(tmp_path)  # a fork searches for modules where its parent does
    own = {**environment, "METALEARN_TARGETS": f"own_{name}."}
    options = f"hydra.searchpath=[file://{tmp_path}/conf]"
    run = metalearn(options, f"algorithm={name}", folder=tmp_path / "run", environment=own)
    assert run.code == 0, run.text
    assert run.result["algorithm"] == name
