"""How a run can end otherwise than well, and what the shell is told."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

from hydra.errors import HydraException
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from omegaconf.errors import OmegaConfBaseException

FAILED, BAD_INPUT, INTERRUPTED, TERMINATED = 1, 2, 128 + signal.SIGINT, 128 + signal.SIGTERM


class BadInput(Exception):
    """What the user asked for cannot be done; the message says why, in one line."""


@contextmanager
def refusing_bad_input() -> Iterator[None]:
    """Before training, an error of value, file or missing package is the user's to mend: said without a traceback."""
    try:
        yield
    except HydraException as error:  # wraps what a constructor raised
        cause = error.__cause__
        if not isinstance(cause, ValueError | OSError | ImportError | MisconfigurationException):
            raise
        raise BadInput(one_line(cause)) from error
    except (ValueError, OSError, ImportError, OmegaConfBaseException) as error:
        raise BadInput(one_line(error)) from error


@contextmanager
def terminable() -> Iterator[None]:
    """Outside Lightning's loops, which see to SIGTERM themselves, let it end the run as an exception does."""

    def stop(*_: Any) -> NoReturn:
        raise SIGTERMException

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def patient() -> Iterator[None]:
    """In Lightning's loops, let Ctrl-C stop the run after the step at hand, as SIGTERM does; a second one stops at once.

    Lightning would stop anywhere, between two weights of an update even, and save that.
    """
    interrupted = False

    def stop(*_: Any) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    except SIGTERMException as error:
        if interrupted:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)


class Ending(NamedTuple):
    status: str  # in result.json
    error: str
    exit_code: int


def ending(error: BaseException) -> Ending:
    """What the result and the shell are told of a run that an exception ended."""
    if isinstance(error, SIGTERMException):
        return Ending("interrupted", "SIGTERM", TERMINATED)
    # Lightning answers Ctrl-C with sys.exit(1)
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return Ending("interrupted", "SIGINT", INTERRUPTED)
    if isinstance(error, BadInput):
        return Ending("failed", str(error), BAD_INPUT)
    return Ending("failed", f"{type(error).__name__}: {one_line(error)}", FAILED)


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
