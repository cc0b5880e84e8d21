"""metrics.csv: a row for each call of the logger."""

import csv
import io
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from metalearn.files import write_text
from metalearn.run.directory.folder import RunFolder

Row = dict[str, Any]


@final
class MetricsFile(Logger):
    """Logs to `folder`/metrics.csv; each row is written before the next is made.

    The columns are "step", the number of finished training steps, then the metrics in order of
    first appearance. Rows are appended; a new column rewrites the file atomically.

    Args:
        folder: run directory.

    Examples:
        >>> import tempfile
        >>> log = MetricsFile(tempfile.mkdtemp())
        >>> log.log_metrics({"train/loss": 0.5}, step=10)
        >>> log.rows()
        [{'step': '10', 'train/loss': '0.5'}]
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = RunFolder(Path(folder)).metrics
        self._columns: list[str] | None = None  # columns of the file, None before it is read

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def log_dir(self) -> str:
        return str(self.path.parent)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Writes nothing, since hparams.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row = {"step": int(step or 0), **{name: float(value) for name, value in metrics.items()}}
        columns = self._known_columns()
        if new := [name for name in row if name not in columns]:
            self._write([*self.rows(), row], [*columns, *new])
        else:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, columns, lineterminator="\n").writerow(row)

    def rows(self) -> list[Row]:
        """Returns the rows of the file without an incomplete last row."""
        if not self.path.is_file():
            return []
        with self.path.open(newline="") as file:
            whole = [line for line in file if line.endswith("\n")]
        return [row for row in csv.DictReader(whole) if None not in row.values() and None not in row]

    def resume(self, step: int) -> None:
        """Keeps the training rows until a step; drops later rows and rows of a test."""
        kept = [
            row
            for row in self.rows()
            if int(row["step"]) <= step and not any(value and name.startswith("test") for name, value in row.items())
        ]
        columns = [name for name in self._known_columns() if name == "step" or any(row[name] for row in kept)]
        self._write([{name: row[name] for name in columns} for row in kept], columns)

    def _known_columns(self) -> list[str]:
        if self._columns is None:
            rows = self.rows()
            self._columns = list(rows[0]) if rows else []
        return self._columns

    def _write(self, rows: list[Row], columns: list[str]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, text.getvalue())
        self._columns = columns
