"""hydra/launcher=slurm: jobs of SLURM, which continue after preemption and time limits."""

from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, final

from metalearn.formats import installing
from metalearn.run.directory.secrets import holds_password
from metalearn.sweep.jobs import AbstractProcess, Job
from metalearn.sweep.launcher import AbstractLauncher
from metalearn.sweep.slots import Slots
from metalearn.sweep.slurm.node_task import JobCommand

if TYPE_CHECKING:  # late: an extra
    import submitit

    from metalearn.sweep.slurm.batch import BatchProcess, Shape

ON_GPUS = ("gpu", "cuda")


@final
class SlurmLauncher(AbstractLauncher):
    """See conf/hydra/launcher/slurm.yaml for the arguments."""

    def __init__(
        self,
        cluster: Literal["slurm", "local"],
        *,
        slots: int,
        wait: bool,
        jobs_per_task: int,
        partition: str | int | None,
        account: str | int | None,
        qos: str | int | None,
        timeout_min: int,
        max_requeues: int,
        signal_delay_s: int,
        gpus_per_node: int | None,
        cpus_per_task: int,
        mem_gb: float | None,
        setup: list[str],
        additional_parameters: dict[str, Any],
        retries: int,
    ) -> None:
        super().__init__(timeout=None, retries=retries, leave=None if wait else self._leave)
        self.jobs_per_task = jobs_per_task
        self.cluster, self.slots, self.max_requeues = cluster, slots, max_requeues
        self.timeout_min, self.signal_delay_s = timeout_min, signal_delay_s
        self.gpus_per_node, self.cpus_per_task, self.mem_gb = gpus_per_node, cpus_per_task, mem_gb
        self.sbatch: dict[str, Any] = {"partition": partition, "account": account, "qos": qos}
        self.setup_commands, self.additional_parameters = setup, additional_parameters

    def make_slots(self, sweep: Path) -> Slots:
        try:
            from metalearn.sweep.slurm.batch import Submitter
        except ImportError as error:
            raise ValueError(f"hydra/launcher=slurm needs submitit: {installing('slurm')}") from error
        for name in ("slots", "timeout_min", "signal_delay_s", "cpus_per_task", "jobs_per_task"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"hydra.launcher.{name}={value} must be a positive whole number")
        self._folder = sweep / ".submitit"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._submitter = Submitter(self.cluster, self._executor, jobs_per_task=self.jobs_per_task)
        return Slots([str(i) for i in range(self.slots)], gpu=False, threads=self.cpus_per_task)

    def start(self, slots: Slots, job: Job, places: list[str], held: IO[str]) -> AbstractProcess:
        return self._add(slots, job, places)

    def _leave(self, slots: Slots, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._add(slots, job, ["0"])
        self._submitter.submit()

    def _add(self, slots: Slots, job: Job, places: list[str]) -> "BatchProcess":
        environment = {**slots.environment(places), **job.environment, "PYTHONUNBUFFERED": "1"}
        if any(map(holds_password, environment.values())):
            raise ValueError(
                "the password in hydra.sweeper.storage would be written into a file for each job: leave it out of the "
                "URL, and put it into ~/.pgpass"
            )
        return self._submitter.add(JobCommand(self.arguments(job), job.folder, environment), self._shape(job))

    def _shape(self, job: Job) -> "Shape":
        """Returns the request of a job, with one task for each of its processes."""
        from metalearn.sweep.slurm.batch import Shape

        trainer, devices = self.trainer(job), self.processes(job)
        if devices is None:
            raise ValueError(
                f"trainer.devices={trainer.devices} is not a number, which SLURM needs: set trainer.devices=N"
            )
        gpus = self.gpus_per_node
        if gpus is None:
            gpus = devices if trainer.accelerator in ON_GPUS else 0
        # submitit's own executor has no ranks: Lightning starts them itself there.
        return Shape(trainer.num_nodes, 1 if self.cluster == "local" else devices, gpus)

    def _executor(self, shape: "Shape") -> "submitit.Executor":
        import submitit

        if self.cluster == "local":
            if shape.nodes > 1:
                raise ValueError(f"trainer.num_nodes={shape.nodes}, but hydra.launcher.cluster=local has one")
            local = submitit.LocalExecutor(self._folder, max_num_timeout=self.max_requeues)
            local.update_parameters(
                timeout_min=self.timeout_min,
                signal_delay_s=self.signal_delay_s,
                gpus_per_node=shape.gpus,
                setup=list(self.setup_commands),
            )
            return local
        try:
            slurm = submitit.SlurmExecutor(self._folder, max_num_timeout=self.max_requeues)
        except RuntimeError as error:
            raise ValueError("hydra/launcher=slurm is for a machine that has srun and sbatch") from error
        given = {
            **self.sbatch,
            "job_name": self._folder.parent.name,
            "time": self.timeout_min,
            "signal_delay_s": self.signal_delay_s,
            "nodes": shape.nodes,
            "ntasks_per_node": shape.tasks,
            "gpus_per_node": shape.gpus or None,
            "cpus_per_task": self.cpus_per_task * shape.jobs,
            "mem": f"{round(self.mem_gb * 1024)}M" if self.mem_gb else None,
            "setup": list(self.setup_commands),
            "additional_parameters": {"requeue": True, **self.additional_parameters},
            "array_parallelism": max(1, self.slots // shape.jobs),
            # srun does not inherit it from sbatch. A rank alone would wait for ever.
            "srun_args": [f"--cpus-per-task={self.cpus_per_task * shape.jobs}", "--kill-on-bad-exit=1"],
        }
        slurm.update_parameters(**{name: value for name, value in given.items() if value is not None})
        return slurm
