"""A report as a W&B run: a table of all jobs, the table of methods, and the page."""

from pathlib import Path
from typing import Any

from metalearn.formats import installing
from metalearn.report.comparing.contents import Contents
from metalearn.report.comparing.paired import leaders
from metalearn.report.page import page
from metalearn.report.sheet import Sheet
from metalearn.report.tables import tables
from metalearn.report.tables.run_fields import FIELDS


def log(contents: Contents, folder: Path, project: str | None) -> str:
    """Logs a report to W&B, and returns a line that says where it is.

    Args:
        contents: the report.
        folder: where an offline run lies; its name is the group of the jobs of a sweep.
        project: W&B project; None: WANDB_PROJECT, or "metalearn".

    Raises:
        ValueError: WANDB_MODE=online lacks an API key, or wandb is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise ValueError(f"--wandb needs wandb: {installing('wandb')}") from error
    # Late: Lightning takes seconds, and most reports are no W&B run.
    from metalearn.run.loggers.wandb_run import place_of, settings_of

    settings, name = settings_of(offline=False), folder.resolve().name
    project = project or settings.project or "metalearn"
    about: dict[str, Any] = {"name": f"report {name}", "group": name, "job_type": "report"}
    run = wandb.init(project=project, dir=folder, settings=settings, **about)
    rows = [[value(job) for _, value in FIELDS] for job in contents.runs]
    jobs = wandb.Table(columns=[column for column, _ in FIELDS], data=rows, allow_mixed_types=True)
    methods = _table(wandb, tables.settings(contents.comparison, leaders(contents.groups)))
    run.log({"comparison": jobs, "methods": methods, "report": wandb.Html(page(contents), inject=False)})
    run.summary["num_jobs"] = len(rows)
    place = place_of(run)
    run.finish()
    return place


def _table(wandb: Any, sheet: Sheet) -> Any:
    """Returns a table of texts; columns of W&B need different names."""
    names = [f"{name} {i}" if name in sheet.head[:i] else name for i, name in enumerate(sheet.head)]
    return wandb.Table(columns=names, data=[[cell.text for cell in row] for row in sheet.rows])
