"""search.json: the place of a search's study, for a report; without passwords of databases."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from metalearn.files import write_text
from metalearn.run.directory.as_json import decode
from metalearn.run.directory.secret_names import is_secret

NAME = "search.json"


class StudyRecord(NamedTuple):
    """A study, and the score that it optimises."""

    storage: str  # journal file, or URL
    study: str
    score: str  # name of the meta-val score, such as "accuracy"


def write(record: StudyRecord, folder: Path) -> None:
    """Writes the record into the folder of the search.

    A file below the folder gets a relative path, so that the folder can be moved.
    """
    storage = _with_file(_without_secrets(record.storage), lambda path: _from(folder.absolute(), path.absolute()))
    text = json.dumps(record._replace(storage=storage)._asdict(), indent=1) + "\n"
    write_text(folder / NAME, text)


def read(folder: Path) -> StudyRecord:
    """Reads the record of a search from its folder.

    Raises ValueError if the file is not a record, and FileNotFoundError if the study's file is
    missing.
    """
    from sqlalchemy.exc import ArgumentError

    path = folder / NAME
    try:
        record: StudyRecord = decode(StudyRecord, json.loads(path.read_text()), "")
        return record._replace(storage=_with_file(record.storage, lambda path: _existing(folder / path)))
    except (ValueError, ArgumentError) as error:
        raise ValueError(f"{path} does not name a study: {error}; repeat the search, which writes it anew") from error


def _with_file(storage: str, change: Callable[[Path], Path]) -> str:
    """Returns the storage with its path changed, if it is a file."""
    from sqlalchemy import make_url

    if "://" not in storage:
        return str(change(Path(storage)))
    url = make_url(storage)
    if url.get_backend_name() != "sqlite" or not url.database:
        return storage
    return url.set(database=str(change(Path(url.database)))).render_as_string()


def _without_secrets(storage: str) -> str:
    from sqlalchemy import URL, make_url

    if "://" not in storage:
        return storage
    url = make_url(storage)
    query = {name: value for name, value in url.query.items() if not is_secret(name, value)}
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query).render_as_string()


def _from(folder: Path, path: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"there is no study at {path}")
    return path.absolute()
