"""Arrays that are slow to make, kept in a file."""

import logging
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from metalearn.files import write_atomically

log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]


def cached(path: Path, build: Callable[[], Arrays]) -> Arrays:
    """The arrays in the .npz file at `path`, built and written there when it is absent or damaged.

    Whatever the arrays depend on belongs into the name of the file: then a stale file is never read. The
    format carries a checksum of every array, which reading verifies. The write is atomic, so that processes
    that build the same file at the same time do no harm.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        pass
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError) as error:
        log.warning("the cache %s is damaged (%s); building it again", path, error)
    arrays = build()
    path.parent.mkdir(parents=True, exist_ok=True)
    # np.savez's stub takes any name for its allow_pickle
    write_atomically(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
    return arrays
