"""The journal file of a study; a last line that a crash or a full disk has cut is removed."""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, final

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileSymlinkLock

from metalearn.formats import one_line

log = logging.getLogger(__name__)


class DamagedStudy(ValueError):
    """Raised for a journal line that is not an operation on a study; the message names it."""


def open_journal(path: Path) -> JournalStorage:
    """Opens or creates a journal file. Raises DamagedStudy for a line that Optuna cannot replay."""
    journal = Journal(path)
    try:
        return JournalStorage(journal)
    except (DamagedStudy, OSError):
        raise
    except Exception as error:  # Optuna raises any kind for a foreign line
        raise journal.damaged(error) from error


@final
class Journal(BaseJournalBackend):
    """Optuna's journal file with line numbers; it removes an incomplete last line before appending.

    Args:
        path: journal file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, JournalFileBackend(str(path))
        self._line = 1

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        self._line = log_number_from + 1
        try:
            for entry in self._file.read_logs(log_number_from):
                yield entry
                self._line += 1
        except ValueError as error:  # invalid JSON or encoding
            raise self.damaged(error) from error

    def append_logs(self, logs: Iterable[dict[str, Any]]) -> None:
        if not _ends_with_a_line(self._path):
            self._cut()
        self._file.append_logs(list(logs))

    def damaged(self, error: Exception) -> DamagedStudy:
        why = one_line(error)
        return DamagedStudy(f"{self._path}, line {self._line}: the study is damaged here: {why}")

    def _cut(self) -> None:
        lock = JournalFileSymlinkLock(str(self._path))
        lock.acquire()
        try:
            if _ends_with_a_line(self._path):
                return  # another process has completed it
            with self._path.open("r+b") as file:
                content = file.read()
                whole = content.rfind(b"\n") + 1
                file.truncate(whole)
                os.fsync(file.fileno())
        finally:
            lock.release()
        log.warning("%s: removed its incomplete last line (%d bytes)", self._path, len(content) - whole)


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"
