"""Cache files for arrays that are slow to compute."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from metalearn.files import write_atomically
from metalearn.formats import one_line

log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]
CHECKSUM = "sha256"  # name of the array that holds the checksum


def cached(path: Path, build: Callable[[], Arrays]) -> Arrays:
    """Reads the arrays in the .npz file at `path`, or builds and writes them if absent or damaged.

    The name of the file must contain everything that the arrays depend on, so that a stale file is
    never read. A checksum of all content is written, and verified on reading. The write is atomic,
    so that concurrent builds of one file are harmless.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except Exception as error:  # a damaged archive makes zipfile and numpy raise anything
        why = one_line(error)
        log.warning("the cache %s is damaged (%s); building it again", path, why)
    with writing_to_cache(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    arrays = build()
    with writing_to_cache(path.parent):
        content = {**arrays, CHECKSUM: np.array(_checksum(arrays))}
        # The stub of np.savez takes every name for its allow_pickle.
        write_atomically(path, lambda file: np.savez(file, **content))  # type: ignore[arg-type]
    return arrays


@contextmanager
def writing_to_cache(folder: Path) -> Iterator[None]:
    """Extends any OSError in the context by the way to move the caches to another folder."""
    try:
        yield
    except OSError as error:
        advice = "METALEARN_CACHE=FOLDER or paths.cache=FOLDER puts the caches elsewhere"
        raise OSError(f"cannot write into the cache {folder} ({error}); {advice}") from error


def _read(path: Path) -> Arrays:
    # np.load closes no file that it opened and found damaged.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if str(arrays.pop(CHECKSUM, "")) != _checksum(arrays):
        raise ValueError("its content has another checksum")
    return arrays


def _checksum(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
