"""Actors of Ray that outlive the process that created them, by their names."""

import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from functools import cache
from typing import Any, final

from metalearn.sweep.submitted import AbstractQueue

NAMESPACE = "metalearn"
INTERVAL = 1.0
"""Seconds between two looks at the names."""


@final
class RayQueue(AbstractQueue):
    """The named actors of the cluster at an address, HOST:PORT."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._names = set[str]()
        self._looked = -INTERVAL

    def has(self, job_id: str) -> bool:
        """Returns whether an actor waits or runs; no actor outlives its cluster."""
        if time.monotonic() - self._looked >= INTERVAL:
            self._looked = time.monotonic()
            self._names = self._list()
        return job_id in self._names

    def stop(self, job_ids: Sequence[str]) -> None:
        import ray

        actors: list[Any] = [ray.get_actor(job_id, namespace=NAMESPACE) for job_id in job_ids if self.has(job_id)]
        placed = {actor: actor.__ray_ready__.remote() for actor in actors}
        ready, _ = ray.wait([*placed.values()], num_returns=len(placed), timeout=1.0) if placed else ([], [])
        waiting = [actor for actor in actors if placed[actor] not in ready]
        for actor in waiting:
            ray.kill(actor)
        for actor in actors:
            if actor not in waiting:
                actor.send.remote(signal.SIGTERM)

    def _list(self) -> set[str]:
        host, _, port = self._address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=10.0).close()
        except ConnectionRefusedError:
            return set()
        import ray

        connect(self._address)
        actors: Any = ray.util.list_named_actors(all_namespaces=True)
        return {actor["name"] for actor in actors if actor["namespace"] == NAMESPACE}


@cache
def queue_at(address: str) -> RayQueue:
    """Returns the queue of a cluster, one for each address."""
    return RayQueue(address)


def connect(address: str | None) -> None:
    """Joins the cluster at an address, or starts one of this process; once. Raises ValueError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        return
    try:
        if address and address != "auto":
            host, _, port = address.rpartition(":")
            # Ray itself would try for minutes.
            socket.create_connection((host, int(port)), timeout=10.0).close()
        ray.init(
            address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            namespace=NAMESPACE,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"no Ray cluster at hydra.launcher.address={address}: {error}") from error
