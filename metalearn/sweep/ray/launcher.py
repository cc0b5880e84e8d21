"""hydra/launcher=ray: the jobs of a sweep where a Ray cluster has room for them."""

import logging
import os
import socket
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, final

from metalearn.sweep.launcher import AbstractLauncher

if TYPE_CHECKING:  # late, because --help must not wait for it
    from metalearn.sweep.jobs import AbstractProcess, Job
    from metalearn.sweep.slots import Slots


@final
class RayLauncher(AbstractLauncher):
    """See conf/hydra/launcher/ray.yaml for the arguments."""

    def __init__(
        self,
        address: str | None,
        *,
        slots: int | Literal["auto"],
        num_cpus: float,
        num_gpus: float,
        timeout: float | None,
        retries: int,
    ) -> None:
        super().__init__(timeout=timeout, retries=retries)
        self.address, self.slots, self.num_cpus, self.num_gpus = address, slots, num_cpus, num_gpus

    def make_slots(self, sweep: Path) -> "Slots":
        from metalearn.sweep.slots import Slots

        for name in ("num_cpus", "num_gpus"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ValueError(f"hydra.launcher.{name}={value} must be a number that is not negative")
        if self.slots != "auto" and (isinstance(self.slots, bool) or not isinstance(self.slots, int) or self.slots < 1):
            raise ValueError(f"hydra.launcher.slots={self.slots} must be auto or a positive number")
        room = self._room()
        if self.slots == "auto" and room < 1:
            wanted = f"{self.num_cpus:g} CPUs and {self.num_gpus:g} GPUs"
            raise ValueError(f"the Ray cluster has no room for a job of {wanted}; hydra.launcher.slots=N waits for it")
        count = room if self.slots == "auto" else self.slots
        return Slots([str(i) for i in range(count)], gpu=False, threads=max(1, int(self.num_cpus)))

    def start(self, slots: "Slots", job: "Job", places: list[str], held: IO[str]) -> "AbstractProcess":
        from metalearn.sweep.jobs import resuming
        from metalearn.sweep.ray.process import RayProcess

        # Else a job that has no share of a GPU would see all of them.
        hidden = {} if self.num_gpus else {"CUDA_VISIBLE_DEVICES": ""}
        return RayProcess(
            [sys.executable, "-m", "metalearn", *self.arguments(job), *resuming(job.folder)],
            log=job.log,
            environment={**slots.environment(places), **hidden, **job.environment, "PYTHONUNBUFFERED": "1"},
            folder=Path.cwd(),
            num_cpus=self.num_cpus * len(places),
            num_gpus=self.num_gpus * len(places),
        )

    def _room(self) -> int:
        """Start Ray, or join it; how many processes it has room for."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise ValueError("hydra/launcher=ray needs Ray: pip install -e '.[ray]' in the checkout") from error
        try:
            if self.address and self.address != "auto":
                host, _, port = self.address.rpartition(":")
                socket.create_connection((host, int(port)), timeout=10.0).close()  # Ray itself would try for minutes
            ray.init(
                self.address or "local",
                include_dashboard=None if self.address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise ValueError(f"no Ray cluster at hydra.launcher.address={self.address}: {error}") from error
        there = ray.cluster_resources()
        shares = [(there.get("CPU", 0.0), self.num_cpus), (there.get("GPU", 0.0), self.num_gpus)]
        return min((int(all_of_it / share) for all_of_it, share in shares if share), default=1)
