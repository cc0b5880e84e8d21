"""Life signs of the controllers of a study, in the attributes of the trials that they run."""

import os
import socket
import time

from optuna.trial import FrozenTrial

HEARTBEAT = 30.0
"""Seconds. Optuna's own beats within study.optimize alone, and has no place in a journal."""

DEAD = 300.0
"""Seconds without a heartbeat until a controller of another machine counts as dead."""


def this_process() -> str:
    """Returns the name of this process as a controller."""
    return f"{socket.gethostname()}:{os.getpid()}"


def is_alive(trial: FrozenTrial) -> bool:
    """Returns whether the controller of a running trial is alive."""
    host, _, pid = trial.user_attrs.get("owner", ":").rpartition(":")
    if host == socket.gethostname():
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
    assert trial.datetime_start is not None
    last: float = trial.user_attrs.get("heartbeat", trial.datetime_start.timestamp())
    return time.time() - last < DEAD
