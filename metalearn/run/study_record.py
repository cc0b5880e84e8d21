"""search.json: where a search has its study, so that a report finds it; never the password of its database."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from metalearn.files import write_atomically

NAME = "search.json"
SECRET = re.compile("key|token|secret|password", re.IGNORECASE)


class StudyRecord(NamedTuple):
    """A study, and what it makes good."""

    storage: str  # a journal file, or a URL
    study: str
    score: str  # at meta-val, such as "accuracy"


def write(record: StudyRecord, folder: Path) -> None:
    """Into the folder of the search. Files below it are named from there, so that it can be moved."""
    storage = _with_file(_without_secrets(record.storage), lambda path: _from(folder.absolute(), path.absolute()))
    text = json.dumps(record._replace(storage=storage)._asdict(), indent=1) + "\n"
    write_atomically(folder / NAME, lambda file: file.write(text.encode()))


def read(folder: Path) -> StudyRecord:
    """What a search has written into its folder.

    Raises ValueError when the file is of something else, FileNotFoundError when the file of the study is gone.
    """
    from sqlalchemy.exc import ArgumentError

    path = folder / NAME
    try:
        record = StudyRecord(**json.loads(path.read_text()))
        if not all(isinstance(value, str) for value in record):
            raise TypeError("storage, study and score are text")
        return record._replace(storage=_with_file(record.storage, lambda path: _existing(folder / path)))
    except (ValueError, TypeError, ArgumentError) as error:
        raise ValueError(f"{path} does not name a study: {error}") from error


def _with_file(storage: str, change: Callable[[Path], Path]) -> str:
    """The storage with its file changed, where it is in one."""
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
    query = {name: value for name, value in url.query.items() if not SECRET.search(name)}
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query).render_as_string()


def _from(folder: Path, path: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"there is no study at {path}")
    return path.absolute()
