"""A SLURM of two nodes on this machine, as root, with slurm-wlm and munge installed."""

import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

from marked import environment, marked

NODES = ("n1", "n2")

CONFIG = """\
ClusterName=drill
SlurmctldHost={host}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldPort={port}
SlurmdTimeout=20
ReturnToService=2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MpiDefault=none
KillWait=30
MailProg=/bin/true
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname={host} Port={port} CPUs=2 RealMemory=4000 State=UNKNOWN"


class Cluster:
    """A SLURM of two nodes on this machine, while the context lasts."""

    def __init__(self, folder: Path, mark: str) -> None:
        self.folder, self.mark = folder, mark
        self.environment = {**environment(mark), "SLURM_CONF": str(folder / "slurm.conf")}
        self.daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> Self:
        host, (control, *ports) = socket.gethostname(), free_ports(1 + len(NODES))
        nodes = [NODE.format(name=name, host=host, port=port) for name, port in zip(NODES, ports, strict=True)]
        for name in ("state", *NODES):
            (self.folder / name).mkdir()
        text = CONFIG.format(host=host, folder=self.folder, port=control, nodes="\n".join(nodes))
        (self.folder / "slurm.conf").write_text(text)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = [f"--{name}-file={self.folder / name}" for name in ("log", "pid", "seed")]
        self._start(
            "munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", f"--key-file={key}", *files
        )
        self._start("slurmctld", "-D")
        for name in NODES:
            self.start(name)
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
        for daemon in self.daemons.values():
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(20)
        left = marked(self.mark)
        for pid in (*stepds(left), *left):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def start(self, node: str) -> None:
        """Starts the daemon of a node, which passes the variable on to all that it runs."""
        self._start("slurmd", "-D", "-N", node, name=node, METALEARN_NODE=node)

    def lose(self, node: str) -> int:
        """Ends a node as a loss of power does; returns the number of its processes."""
        jobs = marked(self.mark, SLURMD_NODENAME=node)
        lost = {*marked(self.mark, METALEARN_NODE=node), *jobs, *stepds(jobs)}
        for sent in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, no process reports another's end
            for pid in lost:
                with suppress(ProcessLookupError):
                    os.kill(pid, sent)
        self.daemons[node].wait()
        return len(lost)

    def queue(self) -> list[str]:
        command = ["squeue", "--noheader", "--array", "--format=%i %T %N"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    def _start(self, program: str, *arguments: str, name: str = "", **variables: str) -> None:
        log = (self.folder / f"{name or program}.log").open("a")
        self.daemons[name or program] = subprocess.Popen(
            [program, *arguments],
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def stepds(pids: list[int]) -> set[int]:
    """Returns the processes of SLURM that run these jobs; they do not inherit the mark."""
    found = set()
    for pid in pids:
        with suppress(OSError):
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            if Path(f"/proc/{parent}/comm").read_text().strip() == "slurmstepd":
                found.add(parent)
    return found


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
