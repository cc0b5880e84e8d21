"""hydra/launcher=ray: the jobs of a sweep where a Ray cluster has room for them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, final

from metalearn.formats import installing
from metalearn.sweep.jobs import AbstractProcess, Job, resuming
from metalearn.sweep.launcher import AbstractLauncher
from metalearn.sweep.ray.queue import connect
from metalearn.sweep.slots import Slots

if TYPE_CHECKING:  # late: an extra
    from metalearn.sweep.ray.process import Request


@final
class RayLauncher(AbstractLauncher):
    """See conf/hydra/launcher/ray.yaml for the arguments."""

    def __init__(
        self,
        address: str | None,
        *,
        slots: int | Literal["auto"],
        wait: bool,
        num_cpus: float,
        num_gpus: float,
        timeout: float | None,
        retries: int,
    ) -> None:
        super().__init__(timeout=timeout, retries=retries, leave=None if wait else self._leave)
        self.address, self.slots, self.num_cpus, self.num_gpus = address, slots, num_cpus, num_gpus

    def make_slots(self, sweep: Path) -> Slots:
        for name in ("num_cpus", "num_gpus"):
            if (value := getattr(self, name)) < 0:
                raise ValueError(f"hydra.launcher.{name}={value} must be a number that is not negative")
        if isinstance(self.slots, int) and self.slots < 1:
            raise ValueError(f"hydra.launcher.slots={self.slots} must be auto or a positive number")
        if self.leave is not None and self.address is None:
            raise ValueError(
                "hydra.launcher.wait=false needs a cluster that outlives the command: `ray start`, then "
                "hydra.launcher.address=auto"
            )
        room = self._room()
        if self.slots == "auto" and room < 1:
            wanted = f"{self.num_cpus:g} CPUs and {self.num_gpus:g} GPUs"
            raise ValueError(f"the Ray cluster has no room for a job of {wanted}; hydra.launcher.slots=N waits for it")
        count = room if self.slots == "auto" else self.slots
        return Slots([str(i) for i in range(count)], gpu=False, threads=max(1, int(self.num_cpus)))

    def start(self, slots: Slots, job: Job, places: list[str], held: IO[str]) -> AbstractProcess:
        from metalearn.sweep.ray.process import RayProcess

        return RayProcess(self._request(slots, job, places))

    def _leave(self, slots: Slots, jobs: Sequence[Job]) -> None:
        from metalearn.sweep.ray.process import detach

        for job in jobs:
            detach(self._request(slots, job, slots.free[: self.processes(job)]), job.folder)

    def _request(self, slots: Slots, job: Job, places: list[str]) -> "Request":
        from metalearn.sweep.ray.process import Request

        # Else a job that has no share of a GPU would see all of them.
        hidden = {} if self.num_gpus else {"CUDA_VISIBLE_DEVICES": ""}
        return Request(
            [sys.executable, "-m", "metalearn", *self.arguments(job), *resuming(job.folder)],
            log=job.log,
            environment={**slots.environment(places), **hidden, **job.environment, "PYTHONUNBUFFERED": "1"},
            folder=Path.cwd(),
            share={"num_cpus": self.num_cpus * len(places), "num_gpus": self.num_gpus * len(places)},
        )

    def _room(self) -> int:
        """Starts or joins Ray, and returns how many processes it has room for."""
        try:
            import ray
        except ImportError as error:
            raise ValueError(f"hydra/launcher=ray needs Ray: {installing('ray')}") from error
        connect(self.address)
        there = ray.cluster_resources()
        shares = [(there.get("CPU", 0.0), self.num_cpus), (there.get("GPU", 0.0), self.num_gpus)]
        return min((int(all_of_it / share) for all_of_it, share in shares if share), default=1)
