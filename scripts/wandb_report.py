"""Writes a W&B report of a sweep: python scripts/wandb_report.py ENTITY PROJECT SWEEP.

It shows the results of all jobs, their curves, their cost, and the table that
`python -m metalearn.report DIR --wandb` logged. Needs pip install -e '.[wandb-report]'.
"""

import sys

import wandb_workspaces.reports.v2 as wr


def build(entity: str, project: str, sweep: str) -> wr.Report:
    """Returns the report of the runs that a sweep has logged as its group."""

    def runs(name: str, job_types: str) -> wr.Runset:
        filters = f"Metric('Group') = '{sweep}' and Metric('JobType') {job_types} ['report']"
        groupby = ["config.choice.algorithm"] if name == "jobs" else []
        return wr.Runset(entity=entity, project=project, name=name, filters=filters, groupby=groupby)

    jobs, reports = runs("jobs", "not in"), runs("reports", "in")
    results = [
        wr.BarPlot(title="Meta-test accuracy", metrics=["selected/test_accuracy"]),
        wr.ScatterPlot(title="Accuracy against time", x="seconds_fit", y="selected/test_accuracy"),
        wr.ScatterPlot(title="Accuracy against size", x="num_parameters", y="selected/test_accuracy"),
    ]
    steps = "trainer/global_step"  # all runs log it, but only some log episodes, and others images
    curves = [wr.LinePlot(title=y, x=steps, y=[y]) for y in ("val/accuracy", "val/loss", "train/loss")]
    return wr.Report(
        entity=entity,
        project=project,
        title=f"Sweep {sweep}",
        description="Selected checkpoints of all jobs: chosen on meta-val, scored on meta-test.",
        blocks=[
            wr.H1("Results"),
            wr.PanelGrid(runsets=[jobs], panels=results),
            wr.H1("Training"),
            wr.PanelGrid(runsets=[jobs], panels=curves),
            wr.H1("All jobs"),
            wr.PanelGrid(runsets=[reports], panels=[wr.WeavePanelSummaryTable(table_name="comparison")]),
        ],
    )


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    report = build(*sys.argv[1:])
    report.save()
    print(report.url)
