"""The report of a search: trials, importance of parameters, and the best trial among other runs."""

import csv
import math
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from run_folders import leave, result, search

from metalearn.report.comparing import contents
from metalearn.report.comparing.contents import Contents
from metalearn.report.export import write
from metalearn.report.plots import search_plots
from metalearn.report.reading import searches
from metalearn.report.tables import search_tables, tables
from metalearn.run.directory import study_record
from metalearn.run.directory.study_record import StudyRecord
from metalearn.run.trials.trial import open_storage

VALUES = [0.5, 0.7, 0.6, 0.65, 0.9, 0.8]


def read(folder: Path) -> Contents:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return contents.read([folder])


def not_completed(told: Contents) -> list[str]:
    return [Path(row[1].text).name for row in tables.not_completed(told).rows]


# --- trials ------------------------------------------------------------------------------------


def test_trials_are_told_the_best_first_and_pruned_ones_as_pruned(tmp_path: Path) -> None:
    told = read(search(tmp_path / "one", VALUES, pruned=(2, 3), failed=(4,)))
    sheet = search_tables.trials(told.searches[0])
    assert [[cell.text for cell in row[:4]] for row in sheet.rows] == [
        ["0005", "completed", "80.00", "600"],
        ["0001", "completed", "70.00", "600"],
        ["0000", "completed", "50.00", "600"],
        ["0003", "pruned", "65.00", "30"],
        ["0002", "pruned", "60.00", "30"],
        ["0004", "failed", "-", "-"],
    ]
    assert sheet.head[4:] == ["optimizer.lr", "algorithm.distance"]
    assert [cell.text for cell in sheet.rows[0][4:]] == ["0.8", "squared_euclidean"]
    assert sheet.notes[0].text == "6 trials: 3 completed, 2 pruned, 1 failed"
    assert not_completed(told) == ["0004"]
    assert "loss is nan in trial 4" in tables.not_completed(told).rows[0][2].text


def test_a_single_trial_is_no_plural(tmp_path: Path) -> None:
    (found,) = read(search(tmp_path / "one", VALUES[:1])).searches
    assert search_tables.counts(found) == "1 trial: 1 completed"


def test_a_search_stands_among_other_runs_with_its_best_trial_at_meta_val(tmp_path: Path) -> None:
    search(tmp_path / "one", VALUES, pruned=(4,))
    leave(tmp_path / "other", result(0.95, algorithm="maml"))
    leave(tmp_path / "pruned", result(None, algorithm="anil", status="pruned"))
    told = read(tmp_path)
    assert [(cell.method.algorithm, cell.mean) for cell in told.comparison.cells if cell.completed] == [
        ("maml", 0.95),
        ("prototypical", pytest.approx(0.81)),
    ]
    assert not_completed(told) == ["pruned"]


def test_an_error_is_better_the_lower_it_is(tmp_path: Path) -> None:
    (found,) = read(search(tmp_path / "one", [0.5, 0.2, 0.4, 0.3], score="mse", failed=(3,))).searches
    assert [trial.value for trial in found.best_first] == [0.2, 0.4, 0.5, None]
    plot = search_plots.history(found)
    assert plot is not None and (plot.y.at(0.5), plot.y.at(0.2)) == (100, 0)
    assert (plot.paths[0].kind, plot.paths[0].d) == ("best", "M0.0 0.0H20.0V100.0H60.0")
    assert (plot.paths[-1].kind, plot.paths[-1].d) == ("trial failed", "M60.0 0.0h0")


def test_a_trial_that_goes_on_is_told_once_in_the_directory_where_it_began(tmp_path: Path) -> None:
    folder = search(tmp_path / "one", VALUES[:2])
    study = optuna.load_study(study_name="the-study", storage=open_storage(str(folder / "study.log")))
    begun = study.ask(study.trials[0].distributions)
    begun.set_user_attr("given_up", True)
    study.tell(begun, state=TrialState.FAIL)
    study.enqueue_trial(begun.params, user_attrs={"goes_on": begun.number})
    (folder / f"{begun.number:04d}/.hydra").mkdir(parents=True)
    told = read(folder)
    trial = told.searches[0].trials[-1]
    assert (trial.folder.name, trial.state, trial.params) == ("0002", "unfinished", begun.params)
    assert not_completed(told) == []
    study.tell(study.ask(begun.distributions), 0.75)
    assert [(trial.number, trial.value) for trial in read(folder).searches[0].trials] == [(0, 0.5), (1, 0.7), (2, 0.75)]


def test_many_trials_are_limited_in_the_table_and_whole_in_the_file(tmp_path: Path) -> None:
    values = [0.3 + 0.01 * i for i in range(25)]
    told = read(search(tmp_path / "one", values, pruned=(0,)))
    sheet = search_tables.trials(told.searches[0])
    assert len(sheet.rows) == 20
    assert "25 trials" in sheet.notes[0].text and "the best 20" in sheet.notes[0].text
    write(tmp_path / "out", told)
    with (tmp_path / "out/trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["meta_val"]) for row in rows] == pytest.approx([*values[:0:-1], values[0]])
    assert {row["state"] for row in rows} == {"completed", "pruned"}
    assert [row["optimizer.lr"] for row in rows] == [row["meta_val"] for row in rows]


def test_a_seed_that_completed_in_a_failed_trial_has_a_score(tmp_path: Path) -> None:
    folder = search(tmp_path / "one", VALUES[:2], failed=(1,))
    (folder / "0001/result.json").unlink()
    leave(folder / "0001/seed0", result(0.7))
    leave(folder / "0001/seed1", result(None, seed=1, status="failed", error="out of memory"))
    rows = [[text.text for text in row] for row in tables.not_completed(read(folder)).rows]
    assert [(status, Path(place).name, why) for status, place, why in rows] == [
        ("completed", "seed0", "its trial of a search has failed"),
        ("failed", "seed1", "out of memory"),
    ]


# --- plots -------------------------------------------------------------------------------------


def test_the_history_by_hand(tmp_path: Path) -> None:
    told = read(search(tmp_path / "one", [0.5, 0.6, 0.55, 0.7, 0.52, 0.6], pruned=(2,), failed=(4,)))
    plot = search_plots.history(told.searches[0])
    assert plot is not None
    assert (plot.x.low, plot.x.high, plot.y.low, plot.y.high) == (0, 5, 0.5, 0.7)
    assert {path.kind: path.d for path in plot.paths} == {
        "best": "M0.0 100.0H20.0V50.0H60.0V0.0H100.0",
        "trial completed": "M0.0 100.0h0M20.0 50.0h0M60.0 0.0h0M100.0 50.0h0",
        "trial pruned": "M40.0 75.0h0",
        "trial failed": "M80.0 100.0h0",
    }


def test_a_pruned_trial_that_diverged_has_no_place_in_the_history(tmp_path: Path) -> None:
    told = read(search(tmp_path / "one", [0.5, 0.7, math.inf], pruned=(2,), vary=("algorithm.distance",))).searches[0]
    history = search_plots.history(told)
    assert history is not None
    assert [path.kind for path in history.paths] == ["best", "trial completed"]
    assert search_tables.trials(told).rows[2][2].text == "-"


def test_what_made_the_scores_is_what_is_important(tmp_path: Path) -> None:
    values = [(0.37 * i) % 1 for i in range(1, 31)]  # equal to the learning rates
    (found,) = read(search(tmp_path / "one", values)).searches
    assert found.importance is not None
    assert list(found.importance.shares) == ["optimizer.lr", "algorithm.distance"]
    assert found.importance.shares["optimizer.lr"] > 0.8
    assert sum(found.importance.shares.values()) == pytest.approx(1)
    assert search_tables.importance(found).endswith(
        "(PED-ANOVA over 30 completed trials: how the best 5 differ from all)"
    )
    bars = search_plots.importance(found)
    assert bars is not None
    assert [float(row.paths[0].d.removeprefix("M0 10H")) for row in bars.rows] == [
        pytest.approx(100 * share, abs=0.01) for share in found.importance.shares.values()
    ]


@pytest.mark.parametrize("values", [VALUES, [0.5] * 12])
def test_too_few_trials_and_equal_ones_have_a_sentence_instead(tmp_path: Path, values: list[float]) -> None:
    (found,) = read(search(tmp_path / "one", values)).searches
    assert search_plots.importance(found) is None
    assert (
        f"needs 10 completed trials or more whose scores differ: there are {len(values)}"
        in search_tables.importance(found)
    )


def test_of_a_single_parameter_no_importance_is_told(tmp_path: Path) -> None:
    (found,) = read(search(tmp_path / "one", [i / 20 for i in range(20)], vary=("optimizer.lr",))).searches
    assert search_plots.importance(found) is None
    assert search_tables.importance(found) == "parameter importance: optimizer.lr alone varies"


def test_a_search_without_a_score_has_no_history(tmp_path: Path) -> None:
    told = read(search(tmp_path / "one", VALUES[:2], failed=(0, 1)))
    assert search_plots.history(told.searches[0]) is None
    write(tmp_path / "out", told)
    assert "2 trials: 2 failed" in (tmp_path / "out/report.html").read_text()


# --- location of the study ---------------------------------------------------------------------


def test_a_search_that_was_moved_is_found(tmp_path: Path) -> None:
    search(tmp_path / "one", VALUES).rename(tmp_path / "two")
    assert [search.name for search in read(tmp_path / "two").searches] == ["two"]


def test_a_database_in_a_file_is_read_and_never_made(tmp_path: Path) -> None:
    folder = search(tmp_path / "one", VALUES)
    url = f"sqlite:///{folder}/study.db"
    optuna.copy_study(
        from_study_name="the-study",
        from_storage=open_storage(str(folder / "study.log")),
        to_storage=url,
        to_study_name="other",
    )
    study_record.write(StudyRecord(url, "other", "accuracy"), folder)
    moved = folder.rename(tmp_path / "two")
    assert len(read(moved).searches[0].trials) == len(VALUES)
    (moved / "study.db").unlink()
    told = read(moved)
    assert told.unread == [f"there is no study at {moved / 'study.db'}"]
    assert not (moved / "study.db").exists()
    assert len(told.comparison.cells) == len(VALUES)  # its trials are ordinary runs


def test_the_password_of_a_database_is_written_nowhere(tmp_path: Path) -> None:
    url = "postgresql+psycopg://me:hunter2@127.0.0.1:1/none?sslpassword=hunter3&connect_timeout=2"
    study_record.write(StudyRecord(url, "s", "accuracy"), tmp_path)
    text = (tmp_path / "search.json").read_text()
    assert "hunter" not in text
    assert study_record.read(tmp_path).storage == "postgresql+psycopg://me@127.0.0.1:1/none?connect_timeout=2"
    with pytest.raises(ValueError, match="storage cannot be opened.*a password is looked for in PGPASSWORD") as raised:
        searches.read(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "does not name a study"),
        ('{"storage": "study.log", "study": "another", "score": "accuracy"}', "has no study another"),
    ],
)
def test_what_is_wrong_with_a_search_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    folder = search(tmp_path / "one", VALUES)
    (folder / "search.json").write_text(text)
    (sentence,) = read(folder).unread
    assert message in sentence and "\n" not in sentence


def test_without_optuna_there_is_a_report_that_says_what_is_missing(tmp_path: Path) -> None:
    folder = search(tmp_path / "one", VALUES, pruned=(0,))
    code = "import sys; sys.modules['optuna'] = None; from metalearn.report.__main__ import main; main()"
    command = [sys.executable, "-c", code, str(folder), "--write", str(tmp_path / "out")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for text in (said, *((tmp_path / "out" / name).read_text() for name in ("report.md", "report.tex", "report.html"))):
        assert "install Optuna" in text
    assert "81.00" in said


def test_a_report_without_a_search_does_not_wait_for_optuna_and_torch(tmp_path: Path) -> None:
    leave(tmp_path / "run", result())
    code = "import sys; from metalearn.report.__main__ import main; main(); "
    code += "print({'optuna', 'torch'} & sys.modules.keys())"
    command = [sys.executable, "-c", code, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "set()"
