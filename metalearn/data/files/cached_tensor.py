"""Tensors that are slow to compute, stored in files that all processes map."""

import logging
import zipfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import torch
from torch import Tensor

from metalearn.data.files.cache import writing_to_cache
from metalearn.files import one_at_a_time, write_atomically
from metalearn.formats import one_line

log = logging.getLogger(__name__)


def cached_tensor(path: Path, compute: Callable[[], Tensor]) -> Tensor:
    """Returns the tensor in the file at `path`, computed and written there if absent or damaged.

    The name of the file must contain all that the tensor depends on, so that no stale file is read.
    Several processes may want one file: one computes it, and the others wait. A stored tensor needs
    no lock, so a cache may be read-only. A tensor that cannot be stored is returned with a warning.
    """
    with suppress(Exception):  # zipfile and torch raise any kind for a damaged archive; the second look reports it
        return _read(path)
    with ExitStack() as alone:
        with suppress(OSError):  # writing the tensor fails too, and is reported
            path.parent.mkdir(parents=True, exist_ok=True)
            alone.enter_context(one_at_a_time(path.with_suffix(".lock")))
        try:
            return _read(path)
        except FileNotFoundError:
            pass
        except Exception as error:
            why = one_line(error)[:200]
            log.warning("the cache %s is damaged (%s); computing it again", path, why)
        tensor = compute()
        try:
            with writing_to_cache(path.parent):
                write_atomically(path, lambda file: torch.save(tensor.cpu(), file))
        except OSError as error:
            log.warning("%s", error)
        return tensor


def check_records(path: Path) -> None:
    """Raises an error of any kind if a checksum differs, which torch does not compare."""
    with zipfile.ZipFile(path) as archive:
        if (record := archive.testzip()) is not None:
            raise ValueError(f"its record {record} has another checksum")


def _read(path: Path) -> Tensor:
    """Maps the tensor. Raises an error of any kind if a checksum of the file differs."""
    check_records(path)
    tensor: Tensor = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return tensor
