"""Published numbers beside the results of a report."""

from typing import Any

import pytest
from run_folders import episode, result, runs

from metalearn.report.comparing.comparison import Comparison, compare
from metalearn.report.tables import tables


def compared(*results: dict[str, Any]) -> Comparison:
    return compare(runs(*results))


def test_the_published_number_stands_beside() -> None:
    number = {"accuracy": 0.988, "source": "Snell et al. 2017"}
    sheet = tables.settings(compared(result(published=number), result(algorithm="maml")))
    assert sheet.head == ["algorithm", "glyphs 5-way 1-shot", "published"]
    assert sheet.rows[1][2].text == "98.80" or sheet.rows[0][2].text == "98.80"
    assert "Snell et al. 2017" in [note.text for note in sheet.notes]


def test_a_published_number_of_another_test_is_left_out() -> None:
    number = {"accuracy": 0.988, "source": "5-way"}
    other = result(published=number, overrides=["experiment=one", "episode.test.way=20"], episode=episode(way=20))
    assert compared(other).cells[0].published is None
    named = {**other, "overrides": [*other["overrides"], "published.accuracy=0.96"]}
    assert compared(named).cells[0].published is not None


def test_a_published_number_of_a_transductive_method_is_of_its_queries() -> None:
    changes = {"published": {"accuracy": 0.988}, "overrides": ["experiment=one", "episode.test.query=15"]}
    for transductive in (True, False):
        (cell,) = compared(result(**changes, transductive=transductive)).cells
        assert (cell.published is None) == transductive


@pytest.mark.parametrize(
    ("override", "stays"),
    [
        ("evaluation=crossval", False),
        ("evaluation=lake", False),
        ("evaluation=open_set", True),
        ("evaluation.settings=[]", True),
        ("episode.test.queries=unequal", False),
        ("episode.test.shots=unequal", False),
        ("episode={test:{way:20}}", False),
        ("episode.test.query=5", True),
        ("episode.test.num_episodes=100", True),
        ("dataset.rotations=false", False),
        ("dataset.split=lake", False),
        ("dataset@dataset.images=mnist", False),
        ("test_dataset=mnist", False),
        ("test_dataset.split=lake", False),
        ("dataset.root=/data/omniglot", True),
        ("test_dataset.cache=null", True),
        ("dataset.fold=2", True),
    ],
)
def test_a_published_number_stays_only_with_its_classes(override: str, stays: bool) -> None:
    number = {"accuracy": 0.988, "source": "nobody"}
    overrides = ["experiment=one", override]
    (cell,) = compared(result(published=number, overrides=overrides)).cells
    assert (cell.published is not None) == stays
    (named,) = compared(result(published=number, overrides=[*overrides, "published.source=nobody"])).cells
    assert named.published is not None
