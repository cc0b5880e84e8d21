"""Curves of a report: mean and band over the runs, labels apart, small plots of many methods."""

import re
from itertools import pairwise

import pytest
from run_folders import leave, result, sweep

from metalearn.report.comparing.contents import read
from metalearn.report.comparing.paired import leaders
from metalearn.report.plots.curves import LABEL, MOST_TOGETHER, lines, validation_curves
from metalearn.report.reading.scores import ACCURACY
from metalearn.report.sheet import Text
from metalearn.report.tables.difference_tables import matrix
from metalearn.report.tables.tables import all_sheets


def places(path: str) -> list[tuple[float, ...]]:
    """Returns the points of the d of an SVG path."""
    return [tuple(map(float, pair.split())) for pair in re.findall(r"[\d.]+ [\d.]+", path)]


def test_a_method_is_its_mean_in_the_band_of_its_runs() -> None:
    runs = [{1: (1.0, 0.5), 2: (2.0, 0.6), 3: (3.0, 0.9)}, {1: (1.0, 0.7), 2: (2.0, 1.0)}]
    plot = lines("t", ACCURACY, "steps", {Text("maml"): runs})
    (curve,) = plot.curves
    # The band ends where the shortest run ends.
    wanted = [(plot.x.at(x), round(100 - plot.y.at(y), 2)) for x, y in ((1, 0.6), (2, 0.8))]
    assert places(curve.path) == wanted
    heights = [round(100 - plot.y.at(y), 2) for y in (0.7, 1.0, 0.6, 0.5)]
    assert [y for _, y in places(curve.band)] == pytest.approx(heights)


def test_a_validation_curve_is_on_the_data_of_its_training(tmp_path) -> None:
    leave(tmp_path / "same", result(trained_dataset="glyphs", test_dataset="glyphs"), steps=20)
    elsewhere = {"dataset": "omniglot", "trained_dataset": "omniglot", "test_dataset": "glyphs"}
    leave(tmp_path / "other", result(algorithm="matching", **elsewhere), steps=20)
    plots = {plot.title: plot for plot in validation_curves(read([tmp_path]).comparison)[0]}
    assert {title: [curve.name.text for curve in plot.curves] for title, plot in plots.items()} == {
        "glyphs 5-way 1-shot": ["prototypical"],
        "omniglot 5-way 1-shot": ["matching"],
    }


def test_runs_are_averaged_at_the_steps_that_all_of_them_have(tmp_path) -> None:
    for seed in range(2):
        leave(tmp_path / str(seed), result(seed=seed), steps=40)
    metrics = tmp_path / "1" / "metrics.csv"
    metrics.write_text(re.sub(r"^20,,0.*\n", "20,,nan,2.86\n", metrics.read_text(), flags=re.MULTILINE))
    (by_steps,), (by_seconds,) = validation_curves(read([tmp_path]).comparison)
    for plot, steps_a_second in ((by_steps, 1), (by_seconds, 7)):
        wanted = [(plot.x.at(i / steps_a_second), 100 - plot.y.at(0.9 - 0.5 / i)) for i in (10, 30, 40)]
        assert places(plot.curves[0].path) == [pytest.approx(point, abs=0.1) for point in wanted]


def test_runs_without_a_common_step_have_no_curve() -> None:
    assert lines("t", ACCURACY, "steps", {Text("maml"): [{1: (1.0, 0.5)}, {2: (2.0, 0.5)}]}) is None


def test_one_run_has_no_band() -> None:
    (curve,) = lines("t", ACCURACY, "steps", {Text("maml"): [{1: (1.0, 0.5), 2: (2.0, 0.6)}]}).curves
    assert curve.band == ""


@pytest.mark.parametrize("values", [[0.9] * 6, [0.1, 0.2, 0.9, 0.9, 0.9], [0.5, 0.501]])
def test_labels_stay_apart_and_in_order(values: list[float]) -> None:
    series = {Text(f"m{i}"): [{1: (1.0, 0.0), 2: (2.0, value)}] for i, value in enumerate(values)}
    plot = lines("t", ACCURACY, "steps", series)
    ends = sorted(curve.end for curve in plot.curves)
    assert all(b - a >= LABEL - 0.02 for a, b in pairwise(ends))
    assert ends[-1] <= 100
    heights = {curve.name.text: curve.end for curve in plot.curves}
    in_order = [heights[f"m{i}"] for i in sorted(range(len(values)), key=lambda i: values[i])]
    assert len(set(values)) < len(values) or in_order == sorted(in_order)


@pytest.mark.parametrize("count", [MOST_TOGETHER, MOST_TOGETHER + 1])
def test_many_methods_have_a_plot_each(count: int) -> None:
    series = {Text(f"m{i}"): [{1: (1.0, 0.1 * i)}] for i in range(count)}
    assert lines("t", ACCURACY, "steps", series).is_split == (count > MOST_TOGETHER)


def test_the_best_and_its_equals_are_bold_and_the_matrix_has_one_decimal(tmp_path) -> None:
    sweep(tmp_path, {"maml": 0.9, "anil": 0.9005, "relation": 0.7}, shots=(1,))
    contents = read([tmp_path])
    (group,) = contents.groups
    equal = [cell.method.algorithm for cell in leaders(contents.groups)]
    real = {comparison.first.method.algorithm for comparison in group.with_best() if comparison.real}
    assert "relation" in real
    assert set(equal) == {"maml", "anil", "relation"} - real
    rows = all_sheets(contents)[0].rows
    assert {row[0].text for row in rows if row[1].tone == "good"} == set(equal)
    _, rows = matrix(group, contents.comparison)
    assert all(re.fullmatch(r"[+−]\d+\.\d|·", cell.text) for row in rows for cell in row[1:])
