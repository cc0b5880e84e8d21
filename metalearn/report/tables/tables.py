"""Tables of a report in their order: algorithms by settings, details, incomplete runs."""

import math
from collections.abc import Sequence

from metalearn.formats import number_of, rate
from metalearn.report.comparing.cells import Cell, mean, number
from metalearn.report.comparing.comparison import DAGGER, Comparison
from metalearn.report.comparing.contents import Contents
from metalearn.report.comparing.paired import leaders
from metalearn.report.reading.runs import Run
from metalearn.report.reading.scores import score
from metalearn.report.sheet import Sheet, Text, Tone
from metalearn.report.tables import costs, difference_tables, further, search_tables

MISSING = Text("no run", tone="faint")

LEADERS = "bold: the best of its column, and those whose paired difference from it is not shown"


def all_sheets(contents: Contents) -> list[Sheet]:
    """Returns the tables in the order of a report, without empty ones."""
    comparison = contents.comparison
    more_than_details = len(comparison.cells) > 1 or any(cell.published for cell in comparison.cells)
    sheets = [settings(comparison, leaders(contents.groups))] if more_than_details else []
    sheets += [difference_tables.against_best(contents.groups, comparison), details(comparison)]
    sheets += [costs.sheet(comparison), *further.sheets(comparison)]
    sheets += map(search_tables.trials, contents.searches)
    return [*(sheet for sheet in sheets if sheet.rows), *left_out(contents)]


def left_out(contents: Contents) -> list[Sheet]:
    """Returns the end of a report: runs in no average, and unreadable files."""
    ends = not_completed(contents)
    sheets = [ends] if ends.rows or ends.notes else []
    sheets += [search_tables.unread(contents.unread)] if contents.unread else []
    return [*sheets, damaged(contents.damaged)] if contents.damaged else sheets


def settings(comparison: Comparison, best: Sequence[Cell] = ()) -> Sheet:
    """Returns algorithms by data sets and test settings, with published numbers; `best` is bold."""
    sources = _sources(comparison)
    with_published = {cell.column for cell in comparison.cells if cell.published}
    head = ["algorithm"]
    for column in comparison.columns:
        head += [str(column), "published"] if column in with_published else [str(column)]
    rows = []
    for line in comparison.lines:
        row = [Text(comparison.name(line.method))]
        for column in comparison.columns:
            cell = line.cells.get(column)
            leads = any(cell is leader for leader in best)
            row.append(result(cell, comparison, leads=leads) if cell else MISSING)
            if column in with_published:
                row.append(_published(cell, sources))
        rows.append(row)
    notes = [*protocols(comparison), intervals(comparison), *([_leaders(comparison, best)] if best else [])]
    notes += [Text(source, str(i)) for source, i in sources.items()]
    return Sheet(f"Meta-test {measures(comparison)}", head, 1, rows, notes)


def _leaders(comparison: Comparison, best: Sequence[Cell]) -> Text:
    """Returns the note on bold cells.

    Methods of a column may lack scores of the same episodes, and one of the best may lack runs.
    """
    completed = [cell for cell in comparison.cells if cell.completed]
    sets = {(cell.column, frozenset(cell.episodes.items()), cell.episode_scores() is None) for cell in completed}
    largest = "; only the largest set of methods with scores of the same test episodes counts"
    several = len(sets) > len({column for column, *_ in sets})
    incomplete = "; a cell with incomplete runs is never bold" if any(cell.others for cell in best) else ""
    return Text(LEADERS + (largest if several else "") + incomplete)


def _published(cell: Cell | None, sources: dict[str, int]) -> Text:
    number = cell.published if cell else None
    if cell is None or number is None:
        return Text("-", tone="faint")
    return Text(cell.score.text(number.value), str(sources[number.source]))


def result(cell: Cell, comparison: Comparison, *, leads: bool) -> Text:
    """Returns mean ± interval, the number of seeds, and the ends of incomplete runs.

    `leads`: whether no other cell of the column is shown to be better.
    """
    done, mark = len(cell.completed), comparison.marks[cell.protocol]
    if not done:
        return Text(", ".join(cell.ends), mark, _tone(*cell.others))
    seeds = [number_of(done, cell.repeats)] if comparison.common_seeds is None or cell.others else []
    said = cell.score.interval(cell.estimate) + (f" ({', '.join([*seeds, *cell.ends])})" if seeds else "")
    return Text(said, mark, "good" if leads and not cell.others else _tone(*cell.others))


def intervals(comparison: Comparison) -> Text:
    """Returns the note on the numbers after ±."""
    several = f"over the {comparison.repeats}s where there are several (Student's t)"
    return Text(f"± is half of a 95 % interval: {several}, over the test episodes where there is one")


def protocols(comparison: Comparison) -> list[Text]:
    """Returns the settings that all runs share, then the meaning of each mark."""
    marks = comparison.marks
    first = next((protocol.parts for protocol in marks), [])
    common = [part for part in first if all(part in protocol.parts for protocol in marks)]
    common += comparison.common_overrides
    common += [f"{number_of(comparison.common_seeds, comparison.repeats)} each"] if comparison.common_seeds else []
    notes = [Text(f"all: {'; '.join(common)}")] if common else []
    own = {mark: "; ".join(part for part in protocol.parts if part not in common) for protocol, mark in marks.items()}
    notes += [Text(parts or "no other setting", mark) for mark, parts in own.items() if mark.rstrip(DAGGER)]
    if any(protocol.saw_test_classes for protocol in marks):
        notes.append(Text("the pretraining has seen test classes, or may have", DAGGER))
    return notes


def details(comparison: Comparison) -> Sheet:
    """Returns one row for each cell, with its settings and its cost."""
    head = ["algorithm", "backbone", "dataset", "test", "batch norm", "pretrained on", "trained on", "with"]
    head += [f"{comparison.repeats}s", measures(comparison), "steps/s", "parameters", "peak MB"]
    rows = []
    for cell in comparison.cells:
        protocol, method = cell.protocol, cell.method
        done = [run.result for run in cell.completed]
        timed = [result for result in done if result.seconds.fit]
        steps, seconds = mean(result.steps for result in timed), mean(result.seconds.fit for result in timed)
        memory = [result.peak_memory_bytes for result in done if result.peak_memory_bytes]
        words = [method.algorithm, method.backbone, cell.column.dataset, f"{cell.column.setting}, {protocol.test}"]
        words += [
            protocol.batch_norm_kind,
            protocol.pretraining or "-",
            protocol.training,
            " ".join([*method.overrides, *protocol.overrides]),
        ]
        numbers = [
            cell.score.interval(cell.estimate),
            rate(steps / seconds),
            number(mean(run.result.num_parameters for run in cell.runs), ",.0f"),
            number(max(memory, default=math.nan) / 1e6, ".0f"),
        ]
        seeds = Text(", ".join([str(len(done)), *cell.ends]), tone=_tone(*cell.others))
        rows.append([*map(Text, words), seeds, *map(Text, numbers)])
    return _shared_in_note(Sheet("All methods in detail", head, 8, rows, [intervals(comparison)]))


def _shared_in_note(sheet: Sheet) -> Sheet:
    """Moves columns of words whose rows are all equal into a note, except the first."""
    words = range(1, sheet.num_words) if len(sheet.rows) > 1 else ()
    shared = [i for i in words if len({row[i] for row in sheet.rows}) == 1]
    shared_words = [f"{sheet.head[i]} {text}" for i in shared if (text := sheet.rows[0][i].text) not in ("", "-")]
    left = [i for i in range(len(sheet.head)) if i not in shared]
    return Sheet(
        sheet.title,
        [sheet.head[i] for i in left],
        sheet.num_words - len(shared),
        [[row[i] for i in left] for row in sheet.rows],
        [*([Text(f"all: {'; '.join(shared_words)}")] if shared_words else []), *sheet.notes],
    )


def not_completed(contents: Contents) -> Sheet:
    """Returns failed runs, run directories without a result, and the numbers of other runs."""
    rows = [_end(run) for cell in contents.comparison.cells for run in cell.runs if not run.completed]
    rows += [_end(run) for run in [*contents.comparison.apart, *contents.failed]]
    rows += [[Text("no result"), Text(str(folder)), Text("")] for folder in contents.unfinished]
    notes = [Text(refused(contents.refused))] if contents.refused else []
    if count := contents.comparison.num_repeated:
        notes.append(Text(f"{count} run{'s repeat' if count > 1 else ' repeats'} the seed of another run"))
    return Sheet("Runs that are in no average", ["status", "run directory", "error"], 3, rows, notes)


def refused(runs: list[Run]) -> str:
    """Returns the number of runs that never started, with the last as an example."""
    folder, error = runs[-1].folder, _first_line(runs[-1].result.error)
    counted = f"{len(runs)} runs were" if len(runs) > 1 else "1 run was"
    return f"{counted} refused before training; the last: {folder}: {error}"


def damaged(lines: list[str]) -> Sheet:
    """Returns the lines about damaged files."""
    return Sheet("Files that could not be read", [], 0, [], [*map(Text, lines)])


def _end(run: Run) -> list[Text]:
    completed = "its test has no score" if score(run.result) is None else "its trial of a search has failed"
    reasons = {"completed": completed, "diverged": "its loss or score on meta-test is not finite"}
    why = reasons.get(run.status, _first_line(run.result.error))
    return [Text(run.status, tone=_tone(run.status)), Text(str(run.folder)), Text(why)]


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def _tone(*statuses: str) -> Tone:
    """Returns "bad" for any status beside completed and pruned."""
    return "bad" if set(statuses) - {"completed", "pruned"} else "plain"


def _sources(comparison: Comparison) -> dict[str, int]:
    """Numbers the published sources in the order of the table."""
    sources = (number.source for cell in comparison.cells if (number := cell.published))
    return {source: i for i, source in enumerate(dict.fromkeys(sources), 1)}


def measures(comparison: Comparison) -> str:
    """Returns the names of the measures of a table."""
    return " or ".join(sorted({column.score.title for column in comparison.columns}))
