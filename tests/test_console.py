"""The table at the end of a run."""

from typing import Any

import pytest
from run_folders import regression, runs

from metalearn.run.console import show_result


@pytest.mark.parametrize(
    ("published", "row"),
    [
        ({"mse": 0.25, "source": "Finn et al. 2017"}, "0.25  Finn et al. 2017"),
        ({"mse": 0.25}, "0.25  no source"),
        ({"accuracy": 0.98, "source": "another task"}, None),
        (None, None),
    ],
)
def test_a_published_number_stands_where_it_is_of_what_was_measured(
    capsys: pytest.CaptureFixture[str], published: dict[str, Any] | None, row: str | None
) -> None:
    (run,) = runs(regression(0.5, published=published, test_dataset="sinusoid"))
    show_result(run.result, "there")
    text = capsys.readouterr().out
    assert "0.5 ± 0.01" in text
    assert ("published" in text) == (row is not None)
    assert row is None or row in text
