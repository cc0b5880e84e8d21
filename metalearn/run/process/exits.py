"""Endings of a run with an error: status, error line, and exit code."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeGuard

from hydra.errors import HydraException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf.errors import OmegaConfBaseException

from metalearn.files import is_full_disk
from metalearn.formats import first_line, one_line
from metalearn.run.directory.result import Status
from metalearn.run.process.conventions import BAD_INPUT, FAILED

ANOTHER = "another process of the run failed or was killed"
LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "ncclRemoteError")
"""Signs of a lost process in the errors of gloo and NCCL."""

TOO_LARGE = ("can't allocate memory", "Storage size calculation overflowed", "Overflow when unpacking long")
"""Signs of a size that no memory holds in the errors of PyTorch on a CPU."""

OF_THE_USER = (ValueError, OSError, ImportError, MisconfigurationException, OmegaConfBaseException)


class BadInput(Exception):
    """Raised for a request that cannot be done; the message gives the reason in one line."""


@contextmanager
def refusing_bad_input() -> Iterator[None]:
    """Turns errors of values, files and missing packages into BadInput.

    Before training, these are the user's to fix, so they are shown without a traceback, and so are
    sizes that no memory holds. The memory of a GPU, or a disk, may be full of other work, and free
    later.
    """
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if isinstance(error, HydraException) else error  # Hydra wraps that of a constructor
        if is_too_large(cause):
            raise BadInput(
                f"a part of the run does not fit into memory ({first_line(cause)}): lower its sizes"
            ) from error
        if isinstance(cause, OSError) and is_full_disk(cause):
            raise cause from None
        if not isinstance(cause, OF_THE_USER):
            raise
        raise BadInput(one_line(cause)) from error


class Ending(NamedTuple):
    status: Status
    error: str
    exit_code: int


def ending(error: BaseException, received: signal.Signals | None) -> Ending:
    """Returns the ending of a run by an exception.

    Args:
        error: exception that ended the run.
        received: signal that this process received, if any.
    """
    if isinstance(error, SIGTERMException):
        received = received or signal.SIGTERM  # another process may have received it
        return Ending("interrupted", received.name, 128 + received)
    if isinstance(error, BadInput):
        return Ending("failed", str(error), BAD_INPUT)
    if is_of_another_process(error):
        return Ending("failed", ANOTHER, FAILED)
    return Ending("failed", f"{type(error).__name__}: {one_line(error)}", FAILED)


def is_too_large(error: BaseException | None) -> TypeGuard[BaseException]:
    """Whether an error is an allocation that no memory of this machine holds."""
    by_torch = isinstance(error, RuntimeError | TypeError) and any(sign in str(error) for sign in TOO_LARGE)
    return by_torch or isinstance(error, MemoryError)


def is_of_another_process(error: BaseException) -> bool:
    """Whether an error is the broken connection to another process of the run."""
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in LOST)
