"""The demo on a free port, in a thread."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from metalearn import Learner
from metalearn.demo.server import HOST, listen, server


@contextmanager
def serving(learner: Learner) -> Iterator[str]:
    """Yields the address of the page."""
    ready = server(learner)
    with listen(0) as listening:
        thread = threading.Thread(target=ready.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not ready.started:
                time.sleep(0.01)
            yield f"http://{HOST}:{listening.getsockname()[1]}"
        finally:
            ready.should_exit = True
            thread.join()
