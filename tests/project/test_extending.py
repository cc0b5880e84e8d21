"""The examples of docs/extending.md, typed into a user's package, run unchanged."""

import re
from pathlib import Path

import pytest
from conftest import REPOSITORY, Command, Finished

PAGE = (REPOSITORY / "docs/extending.md").read_text()
FILES = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def typed(metalearn: Command, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs an example of the page, given its name and overrides, after a change of its text."""

    def call(name: str, *overrides: str, change: tuple[str, str] = ("", "")) -> Finished:
        for path, text in FILES.items():
            if Path(path).stem == name:
                is_module = path.endswith(".py")
                file = tmp_path / (f"own_{name}.py" if is_module else path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(
                    text.replace(*change) if is_module else re.sub(r"metalearn\.\S+\.(\w+\.)", r"own_\1", text)
                )
        monkeypatch.syspath_prepend(tmp_path)  # a fork searches for modules where its parent does
        own = {**environment, "METALEARN_TARGETS": f"own_{name}."}
        options = f"hydra.searchpath=[file://{tmp_path}/conf]"
        return metalearn(options, *overrides, folder=tmp_path / "run", environment=own)

    return call


@pytest.mark.parametrize("name", ["nearest", "heavy_ball"])
def test_an_algorithm_of_the_page_trains(typed: Command, name: str) -> None:
    assert len(FILES[f"metalearn/algorithms/{name}.py"].splitlines()) <= 25
    run = typed(name, f"algorithm={name}")
    assert run.code == 0, run.text
    assert run.result["algorithm"] == name


def test_an_evaluation_of_the_page_scores(typed: Command) -> None:
    run = typed("worst_way", "evaluation=worst_way")
    assert run.code == 0, run.text
    further = run.result["further"]
    assert further["name"] == "worst_way"
    assert 0 <= further["scores"]["accuracy_of_worst_way"]["mean"] <= run.test["accuracy"]["mean"] + 0.1
    assert len(further["curve"]["y"]) == 100


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("Scored({", "({"), "TypeError: WorstWay must return .*, but its result is a tuple"),
        (("estimate(worst)}", "0.5}"), "TypeError: .*, but its score accuracy_of_worst_way is a float"),
        (("}, curve)", "}, None)"), "TypeError: .*, but its curve is a NoneType"),
        (("sorted(worst))", "tuple(worst))"), "TypeError: .*, but its curve.y is a tuple"),
        (("sorted(worst))", "worst[:1])"), "ValueError: WorstWay returns a curve of 2 x and 1 y: give one y for each"),
        (("episodes, sorted(worst))", "[], [])"), "ValueError: WorstWay returns a curve of 0 x and 0 y: give one y"),
        (
            ("estimate(worst)", "estimate([float('nan'), 1.0])"),
            "NonFiniteLoss: the score accuracy_of_worst_way of the evaluation is nan",
        ),
        (("estimate(worst)", "estimate([float('inf'), 1.0])"), "NonFiniteLoss: .* of the evaluation is inf"),
        (
            ("estimate(worst)", "estimate(worst)._replace(mean=torch.tensor(0.5))"),
            r"ValueError: further.scores.accuracy_of_worst_way.mean is tensor\(0.5000\), not a number",
        ),
    ],
    ids=["result", "score", "curve", "tuple", "unequal", "empty", "nan", "infinite", "tensor"],
)
def test_an_evaluation_that_gives_no_scores_fails(typed: Command, change: tuple[str, str], error: str) -> None:
    run = typed("worst_way", "evaluation=worst_way", "evaluation.further.num_episodes=2", change=change)
    assert (run.code, run.result["status"]) == (1, "failed"), run.text
    assert re.match(error, run.result["error"]), run.result["error"]
    assert run.test["accuracy"]["num_episodes"] == 7
