"""Signals that reach a process of a distributed run while it imports its packages.

The processes of a run start and stop together. One that dies early would take the others with it,
before they have written a result.
"""

import os
import signal

received: list[int] = []

if "LOCAL_RANK" in os.environ:  # a launcher has started this process
    for watched in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(watched) is not signal.SIG_IGN:
            signal.signal(watched, lambda number, frame: received.append(number))
