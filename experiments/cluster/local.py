"""A real Slurm of several nodes on this one machine, for tests: one controller, and one daemon per node.

All of it is in one directory and listens on the loopback interface only. The nodes share this machine's cores, so it
shows scheduling, several processes and failures, never speed. Debian and Ubuntu have the packages: slurm-wlm and munge.

    python -m experiments.cluster.local start /tmp/cluster --nodes 2    prints the line that makes a shell use it
    python -m experiments.cluster.local stop /tmp/cluster
"""

import argparse
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

from colbertv2.cluster.jobs import folder_of

ON_SLURM = ["runtime=slurm", "runtime.cpus_per_task=1", "runtime.memory_gb=2", "runtime.array_width=2"]
PROGRAMS = ("slurmctld", "slurmd", "munged", "mungekey", "sbatch")
PATIENCE = 60  # seconds until the nodes must be there
CONFIGURATION = """\
ClusterName={name}
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket,cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
JobRequeue=1
SlurmdTimeout=10
KillWait=5
InactiveLimit=0
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
PropagateResourceLimits=NONE
"""


def places_of_programs() -> str:
    """The value of ``PATH`` with the directory where Debian has the daemons."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])


def missing() -> str | None:
    """Why no cluster can be started here; ``None`` if one can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=places_of_programs()) is None]
    if absent:
        return f"no {', '.join(absent)} here; install slurm-wlm and munge (Debian, Ubuntu)"
    return None if os.geteuid() == 0 else "the daemons of Slurm must be started by root"


class LocalCluster:
    """A cluster in ``directory``.

    Args:
        directory: its configuration, state and logs; short, since it holds a socket.
        nodes: the number of nodes, called n1, n2, …
    """

    def __init__(self, directory: Path, nodes: int = 2) -> None:
        self.directory = directory.absolute()
        self.names = [f"n{number}" for number in range(1, nodes + 1)]

    @property
    def configuration(self) -> Path:
        """The file for the variable ``SLURM_CONF``."""
        return self.directory / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, for programs that are to use the cluster."""
        return {**os.environ, "PATH": places_of_programs(), "SLURM_CONF": str(self.configuration)}

    def start(self) -> None:
        """Start it, and wait until all nodes are there.

        Raises:
            RuntimeError: it can't be started here, or a node did not come.
        """
        if reason := missing():
            raise RuntimeError(reason)
        (self.directory / "state").mkdir(parents=True, exist_ok=True)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 * 9 // 10
        lines = [
            CONFIGURATION.format(
                name=self.directory.name, port=free_port(), directory=self.directory, user=getpass.getuser()
            )
        ]
        for name in self.names:
            (self.directory / f"spool-{name}").mkdir(exist_ok=True)
            lines.append(
                f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={free_port()} CPUs={os.cpu_count()} "
                f"RealMemory={memory} State=UNKNOWN\n"
            )
        lines.append(f"PartitionName=all Nodes={','.join(self.names)} Default=YES MaxTime=INFINITE State=UP\n")
        self.configuration.write_text("".join(lines))
        self._start_munge()
        self.start_controller()
        for name in self.names:
            self.start_node(name)
        self.wait_for(self.names)

    def start_controller(self) -> None:
        """Start slurmctld."""
        subprocess.run(["slurmctld"], env=self.environment, check=True, capture_output=True)

    def start_node(self, name: str) -> None:
        """Start the daemon of a node."""
        subprocess.run(["slurmd", "-N", name], env=self.environment, check=True, capture_output=True)

    def kill(self, daemon: str) -> None:
        """Kill a daemon by SIGKILL: ``slurmctld``, or ``slurmd-n1``."""
        os.kill(int((self.directory / f"{daemon}.pid").read_text()), signal.SIGKILL)

    def wait_for(self, names: list[str]) -> None:
        """Wait until these nodes can take jobs.

        Raises:
            RuntimeError: they can't after a minute.
        """
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            said = self.run("sinfo", "--noheader", "--Node", "--format", "%N %t")
            there = {line.split()[0] for line in said.splitlines() if line.split()[1] in ("idle", "mix", "alloc")}
            if there >= {*names}:
                return
            time.sleep(0.2)
        raise RuntimeError(f"The nodes {', '.join(names)} did not come; see {self.directory}/*.log.")

    def run(self, *words: str) -> str:
        """Run one of Slurm's commands; return what it prints, also if it fails."""
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60).stdout

    def stop(self) -> None:
        """Cancel all jobs and end all daemons."""
        self.run("scancel", "--user", getpass.getuser())
        end = time.monotonic() + 15
        while self.run("squeue", "--noheader") and time.monotonic() < end:
            time.sleep(0.2)
        for file in self.directory.glob("*.pid"):
            with suppress(OSError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)

    def __enter__(self) -> "LocalCluster":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start_munge(self) -> None:
        own = {name: self.directory / f"munge.{name}" for name in ("key", "socket", "pid", "seed", "log")}
        self.directory.chmod(0o755)
        if not own["key"].exists():
            create = ["mungekey", "--create", f"--keyfile={own['key']}"]
            subprocess.run(create, env=self.environment, check=True, capture_output=True)
        subprocess.run(
            [
                "munged",
                "--force",
                f"--key-file={own['key']}",
                f"--socket={own['socket']}",
                f"--pid-file={own['pid']}",
                f"--seed-file={own['seed']}",
                f"--log-file={own['log']}",
            ],
            env=self.environment,
            check=True,
            capture_output=True,
        )


def tasks_of(root: Path) -> list[tuple[int, str]]:
    """Process number and node of every running task of an artifact root, on all nodes of a local cluster."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            variables = (place / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if b"python" in words[0] and b"submitit.core._submit" in words and str(folder_of(root)).encode() in words:
            names = dict(one.split(b"=", 1) for one in variables if b"=" in one)
            found.append((int(place.name), names.get(b"SLURMD_NODENAME", b"").decode()))
    return found


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def main() -> None:
    """Start or stop a cluster from the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.cluster.local", description=__doc__)
    parser.add_argument("what", choices=["start", "stop"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--nodes", type=int, default=2)
    given = parser.parse_args()
    cluster = LocalCluster(given.directory, given.nodes)
    if given.what == "stop":
        cluster.stop()
        return
    cluster.start()
    print(f"export SLURM_CONF={cluster.configuration}")


if __name__ == "__main__":
    main()
