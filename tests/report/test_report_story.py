"""Contents of a report beside its tables of scores: heading, cost, episodes, pictures, links."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_folders import leave, result, search, sweep

from metalearn.report.comparing.contents import Contents, read
from metalearn.report.page import page
from metalearn.report.plots.results import BINS, histograms, scatters
from metalearn.report.tables import costs


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """Reads a sweep of two methods with their costs; the better one left a picture."""
    folder = tmp_path_factory.mktemp("sweeps") / "shots"
    sweep(folder, {"relation": 0.7, "maml": 0.9}, shots=(1,), seeds=2)
    for i in range(4):
        path = folder / str(i) / "result.json"
        fields = json.loads(path.read_text())
        fields |= {"best_step": 100 + i, "num_parameters": 1000 * (i // 2 + 1)}
        fields |= {"seconds": {"fit": 60.0 + i, "test": 1.0, "adapt": 0.02, "predict": 0.004}}
        fields["test"]["calibration_error"] = 0.05
        path.write_text(json.dumps(fields))
    Image.new("RGB", (8, 8)).save(folder / "3" / "test_episode.png")
    typed = ["-m", "seed=0,1", "algorithm=relation,maml"]
    record = {"command": typed[1:], "typed": typed, "cwd": os.getcwd(), "jobs": {}}
    (folder / "sweep.json").write_text(json.dumps(record))
    return read([folder])


def test_the_heading_names_the_sweep_its_command_and_its_date(contents: Contents) -> None:
    title, date, (command,) = contents.heading
    assert title == "shots"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", date)
    assert command.startswith("python -m metalearn -m seed=0,1 algorithm=relation,maml hydra.sweep.dir=")


def test_selection_and_cost_are_means_over_the_seeds(contents: Contents) -> None:
    sheet = costs.sheet(contents.comparison)
    # No run has a score at meta-val, so that column is left out.
    assert sheet.head[2:] == ["best step", "calibration error %", "training s", "adapt s", "predict s"]
    assert [cell.text for cell in sheet.rows[0]][2:] == ["102", "5.00", "62", "0.02", "0.004"]


def test_a_further_setting_has_no_cost_of_the_main_test(tmp_path: Path) -> None:
    fields = result(seconds={"fit": 60.0, "test": 1.0, "adapt": 0.02, "predict": 0.004})
    fields["evaluations"] = {"5w5s": fields["test"]}
    (tmp_path / "result.json").write_text(json.dumps(fields))
    main, further = costs.sheet(read([tmp_path]).comparison).rows
    assert [[cell.text for cell in row[-3:]] for row in (main, further)] == [["60", "0.02", "0.004"], ["60", "-", "-"]]


def test_scores_stand_against_their_costs(contents: Contents) -> None:
    (column,) = contents.comparison.columns
    seconds, parameters = scatters(column, contents.comparison)
    captions = ["meta-test accuracy %, against seconds of training", "meta-test accuracy %, against parameters"]
    assert [seconds.caption, parameters.caption] == captions
    assert [point.name.text for point in parameters.points] == ["maml", "relation"]
    assert [point.at[0] for point in parameters.points] == [parameters.x.at(2000), parameters.x.at(1000)]


def test_equal_costs_make_no_plot(tmp_path: Path) -> None:
    sweep(tmp_path, {"relation": 0.7, "maml": 0.9}, shots=(1,), seeds=1)
    comparison = read([tmp_path]).comparison
    assert scatters(comparison.columns[0], comparison) == []


def test_histograms_count_the_episodes(contents: Contents) -> None:
    (column,) = contents.comparison.columns
    plot = histograms(column, contents.comparison)
    scores = contents.comparison.in_column(column)[0].episode_scores()
    counts, _ = np.histogram(scores, bins=BINS, range=(plot.scale.low, plot.scale.high))
    heights = [20 - float(place) for place in re.findall(r"V([\d.]+)H", plot.rows[0].paths[0].d)]
    assert np.allclose(np.array(heights) / 19 * counts.max(), counts, atol=0.02 * counts.max())


def test_the_page_has_picture_links_and_only_keys_that_it_uses(contents: Contents) -> None:
    text = page(contents)
    assert text.count("data:image/png;base64,") == 1
    for run in contents.runs:
        assert f'href="{run.folder.resolve().as_uri()}"' in text
    assert "</svg> published</span>" not in text
    assert "</svg> one seed</span>" in text


def test_a_report_of_one_search_begins_with_it(tmp_path: Path) -> None:
    folder = search(tmp_path / "lr", [0.5, 0.7, 0.6])
    text = page(read([folder]))
    headings = re.findall(r"<h2>(.+?)</h2>", text)
    assert headings[0].startswith("Search lr")
    leave(tmp_path / "other", result(0.8, algorithm="relation"))
    headings = re.findall(r"<h2>(.+?)</h2>", page(read([tmp_path])))
    assert headings[0].startswith("Meta-test")


def test_an_episode_of_texts_stands_in_the_page_as_its_lines(tmp_path: Path) -> None:
    sweep(tmp_path, {"relation": 0.7}, shots=(1,), seeds=1)
    (tmp_path / "0" / "test_episode.txt").write_text("1 of 2\n  WRONG    <b>play</b>  [answered stop]\n")
    text = page(read([tmp_path]))
    assert "<pre>1 of 2\n  WRONG    &lt;b&gt;play&lt;/b&gt;  [answered stop]\n</pre>" in text
    assert "data:image/png" not in text
