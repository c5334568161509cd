"""A throw-away SLURM cluster on this machine: real daemons, accounting, and nodes that share it.

    python tests/slurm/cluster.py start FOLDER     prints what to export
    python tests/slurm/cluster.py stop FOLDER      ends every process it started, and removes the folder

Everything listens on loopback, runs as the caller and lives in the folder. The nodes are this machine several times,
each with a slurmd of its own; SLURM believes them to be machines of `CPUS` CPUs.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

NODES = 3
CPUS = 2
MEMORY_MB = 16000
#: How long a daemon may take until it answers, on a machine that does much else.
START_SECONDS = 180
#: Debian packages of what is started here.
PACKAGES = ("slurm-wlm", "slurmdbd", "munge", "mariadb-server")
DATABASE = ("slurm_acct", "slurm", "slurm")  # name, user, password: on loopback, for minutes

COMMANDS = ("sacct", "sacctmgr", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
WRAPPER = """\
#!/bin/sh
echo "$(date +%s.%N) $*" >>{folder}/calls/{name}
if [ -e {folder}/failing/{name} ]; then
    echo "{name}: made to fail by a test" >&2
    exit 1
fi
SLURM_CONF={folder}/slurm.conf exec {program} "$@"
"""

SLURM_CONF = """\
ClusterName=dl4ds
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ctld}
AuthType=auth/munge
# A job that goes back into the queue waits for its old credential to expire: seconds, where the default is 2 min.
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n/spool
TmpFS={folder}/%n/tmp
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePass={folder}/munge.socket
AccountingStoragePort={dbd}
AccountingStorageEnforce=associations,limits,qos
AccountingStoreFlags=job_comment
PriorityType=priority/multifactor
PreemptType=preempt/qos
PreemptMode=REQUEUE
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
RebootProgram=/bin/true
MinJobAge=300
KillWait=10
OverTimeLimit=1
SlurmdTimeout=60
InactiveLimit=0
DefMemPerCPU=1000
NodeName=node[1-{nodes}] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[{first_port}-{last_port}] \
CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=240 DefaultTime=10 State=UP
PartitionName=train Nodes=ALL MaxTime=30 DefaultTime=5 State=UP
"""

SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd}
SlurmUser={user}
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
CommunicationParameters=NoInAddrAny
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql}
StorageLoc={database}
StorageUser={database_user}
StoragePass={password}
"""


class ClusterError(RuntimeError):
    """The cluster can't be started; the message says why, with the last words of its daemons."""


class Cluster:
    """The daemons in a folder, and what they need to be called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.record = self.folder / "processes.json"
        self.commands = self.folder / "bin"
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which SLURM's commands talk to this cluster, on the login node and in jobs.

        SLURM_CONF alone would not do: Snakemake's executor drops all SLURM_* variables inside of jobs. So the commands
        come from a folder of wrappers, which also count their calls (`calls/NAME`) and can be made to fail
        (`failing/NAME`).
        """
        path = os.environ["PATH"].removeprefix(f"{self.commands}{os.pathsep}")
        return {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{self.commands}{os.pathsep}{path}",
            # All nodes share the CPUs of this machine: a rank that waits for another leaves its CPU to others.
            "OMPI_MCA_mpi_yield_when_idle": "1",
        }

    def start(self) -> None:
        """Start all daemons and wait until the nodes are idle."""
        lacking = [name for name in ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd") if not _which(name)]
        if lacking:
            raise ClusterError(f"not found: {', '.join(lacking)}; install {' '.join(PACKAGES)}")
        if self.folder.exists():
            raise ClusterError(f"{self.folder} exists; stop the cluster in it first")
        nodes = [f"node{number}/{part}" for number in self._numbers for part in ("spool", "tmp")]
        for name in ("bin", "calls", "failing", "state", "mysql", *nodes):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        try:
            self._configure()
            self._wrap_commands()
            self._munge()
            self._database()
            self._bring_up({"slurmdbd": ["slurmdbd", "-D"]}, self._answers("sacctmgr", "-n", "show", "cluster"))
            self._accounts()
            self._bring_up({"slurmctld": ["slurmctld", "-D"]}, self._answers("scontrol", "ping"))
            nodes = [f"node{number}" for number in self._numbers]
            self._bring_up({node: ["slurmd", "-D", "-N", node] for node in nodes}, self._all_idle)
        except BaseException:
            self.stop(remove=False)
            raise

    def stop(self, *, remove: bool = True) -> None:
        """End the jobs and every process that was started here."""
        if self._guard:
            self._guard.terminate()
            self._guard.wait()
        self.call("scancel", "--me", timeout=10)
        for name in reversed(list(self._processes())):
            self.end(name)
        for pid in self._left_over():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)

    def guard(self, pid: int) -> None:
        """Stop the cluster when a process has ended that started it, however it ended."""
        started = _started(pid)
        while self.record.exists():
            if started is None or _started(pid) != started:
                self.stop()
            time.sleep(2)

    def start_guard(self) -> None:
        """Have the cluster stopped when this process ends, even if it is killed."""
        self._guard = subprocess.Popen(
            [sys.executable, __file__, "guard", str(self.folder), str(os.getpid())],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def launch(self, name: str, *command: str) -> None:
        """Start a daemon in the foreground of a session of its own; its output goes to `NAME.out`."""
        with (self.folder / f"{name}.out").open("a") as output:
            process = subprocess.Popen(
                [_which(command[0]) or command[0], *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        self._children[process.pid] = process
        processes = {**self._processes(), name: [process.pid, _started(process.pid)]}
        self.record.write_text(json.dumps(processes), encoding="utf-8")

    def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End one daemon and wait for it; only if it is still the process that was started."""
        processes = self._processes()
        pid, started = processes.pop(name)
        deadline = time.monotonic() + 15
        while _started(pid) == started:
            os.kill(pid, how if time.monotonic() < deadline else signal.SIGKILL)
            if child := self._children.get(pid):
                child.poll()  # else a process that has ended stays as a zombie
            time.sleep(0.2)
        if child := self._children.pop(pid, None):
            child.wait()
        self.record.write_text(json.dumps(processes), encoding="utf-8")

    def calls(self, name: str) -> int:
        """Return how often a command of SLURM was called."""
        path = self.folder / "calls" / name
        return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0

    def call(self, *command: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a command of SLURM."""
        try:
            return subprocess.run(
                command, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=timeout
            )
        except (subprocess.TimeoutExpired, FileNotFoundError) as error:
            return subprocess.CompletedProcess(command, 1, "", str(error))

    def _all_idle(self) -> bool:
        return self.call("sinfo", "-h", "-o", "%T %D").stdout.split() == ["idle", str(NODES)]

    def direct(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of SLURM past its wrapper: not counted, and never made to fail."""
        return self.call(_which(name, without=self.commands) or name, *arguments)

    @property
    def _numbers(self) -> range:
        return range(1, NODES + 1)

    def _processes(self) -> dict[str, list[int]]:
        return json.loads(self.record.read_text(encoding="utf-8")) if self.record.exists() else {}

    def _left_over(self) -> list[int]:
        """Processes of jobs whose slurmstepd is gone, and of Snakemake: they have this cluster in their environment."""
        mark = f"SLURM_CONF={self.folder / 'slurm.conf'}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                variables = (path / "environ").read_bytes().split(b"\0")
                command = (path / "cmdline").read_bytes()
            except OSError:
                continue
            in_job = any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables)
            if mark in variables and (in_job or b"snakemake" in command):
                found.append(int(path.name))
        return found

    def _configure(self) -> None:
        ctld, dbd, sql, *ports = _free_ports(NODES + 3)
        name, user, password = DATABASE
        values = {
            **{"folder": self.folder, "user": getpass.getuser(), "ctld": ctld, "dbd": dbd, "sql": sql},
            **{"nodes": NODES, "first_port": ports[0], "last_port": ports[-1], "cpus": CPUS, "memory": MEMORY_MB},
            **{"database": name, "database_user": user, "password": password},
        }
        self.sql_port = sql
        for file, text in (("slurm.conf", SLURM_CONF), ("slurmdbd.conf", SLURMDBD_CONF)):
            (self.folder / file).write_text(text.format(**values), encoding="utf-8")
            (self.folder / file).chmod(0o600 if file == "slurmdbd.conf" else 0o644)

    def _wrap_commands(self) -> None:
        for name in COMMANDS:
            wrapper = self.commands / name
            wrapper.write_text(WRAPPER.format(folder=self.folder, name=name, program=_which(name)), encoding="utf-8")
            wrapper.chmod(0o755)

    def _munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        files = {"key-file": key.name, "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
        options = [f"--{option}={self.folder / file}" for option, file in files.items()]
        command = ["munged", "--foreground", "--force", f"--seed-file={self.folder / 'munge.seed'}", *options]
        self._bring_up({"munge": command}, (self.folder / "munge.socket").exists)

    def _database(self) -> None:
        data, sql_socket = self.folder / "mysql", self.folder / "mysql.socket"
        # Temporary tables of servers that start at the same time share their names: each needs a folder of its own.
        temporary = self.folder / "mysql-tmp"
        temporary.mkdir()
        own = [f"--user={getpass.getuser()}", f"--datadir={data}", f"--tmpdir={temporary}"]
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", *own],
            check=True,
            capture_output=True,
        )
        server = [
            *("mariadbd", "--no-defaults", *own, f"--socket={sql_socket}", f"--pid-file={self.folder / 'mysql.pid'}"),
            *("--bind-address=127.0.0.1", f"--port={self.sql_port}", "--innodb-buffer-pool-size=64M"),
        ]
        name, user, password = DATABASE
        statements = (
            f"CREATE DATABASE {name}; CREATE USER {user}@'127.0.0.1' IDENTIFIED BY '{password}';"
            f"GRANT ALL ON {name}.* TO {user}@'127.0.0.1';"
        )
        client = ["mariadb", "--no-defaults", f"--socket={sql_socket}", "--user=root"]
        self._bring_up({"mariadb": server}, self._answers(*client, "--execute=SELECT 1"))
        subprocess.run([*client, f"--execute={statements}"], check=True)

    def _accounts(self) -> None:
        user = getpass.getuser()
        commands = (
            "add cluster dl4ds",
            "add account climate Description=climate Organization=tests",
            "add qos urgent Priority=1000 Preempt=normal GraceTime=0",
            "modify qos normal set GraceTime=20",
            f"add user {user} Account=climate",
            f"modify user {user} set QOS=normal,urgent DefaultQOS=normal",
        )
        for command in commands:
            answer = self.call("sacctmgr", "-i", *command.split())
            if answer.returncode and "Nothing new" not in answer.stdout:
                raise ClusterError(f"sacctmgr {command}: {answer.stdout}{answer.stderr}")

    def _answers(self, *command: str) -> Callable[[], bool]:
        return lambda: self.call(*command).returncode == 0

    def _bring_up(self, daemons: Mapping[str, Sequence[str]], ready: Callable[[], bool]) -> None:
        """Start daemons and wait until they answer; one that ends before (its database is slow, say) starts again."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            for name, command in daemons.items():
                if not self._runs(name):
                    self.launch(name, *command)
            if ready():
                return
            if time.monotonic() > deadline:
                words = "\n".join(self._last_words(name) for name in daemons)
                raise ClusterError(f"{', '.join(daemons)}: no answer within {START_SECONDS} s. Last words:\n{words}")
            time.sleep(0.5)

    def _runs(self, name: str) -> bool:
        pid, started = self._processes().get(name, (0, None))
        return started is not None and _started(pid) == started

    def _last_words(self, name: str, lines: int = 10) -> str:
        files = [self.folder / f"{name}.out", self.folder / f"{name}.log", self.folder / f"slurmd-{name}.log"]
        return "\n".join(
            f"{path.name}: {line}"
            for path in files
            if path.exists()
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        )


def _which(name: str, without: Path | None = None) -> str | None:
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/sbin"]
    return shutil.which(name, path=os.pathsep.join(folder for folder in folders if folder != str(without)))


def _free_ports(count: int) -> list[int]:
    """Consecutive ports that nobody listens on, below those that the system gives to outgoing connections."""
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="utf-8").split()[0])
    lowest = min(15000, ephemeral // 2)
    for first in range(lowest + secrets.randbelow(ephemeral - lowest), ephemeral - count, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return list(range(first, first + count))
    raise ClusterError("no free ports")


def _started(pid: int) -> int | None:
    """When a process started, in ticks since boot: with its id, this is the same process or another one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["start", "stop", "guard"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("pid", type=int, nargs="?", help="guard: stop the cluster when this process has ended")
    arguments = parser.parse_args()
    cluster = Cluster(arguments.folder)
    if arguments.action == "guard":
        cluster.guard(arguments.pid)
    elif arguments.action == "stop":
        cluster.stop()
    else:
        try:
            cluster.start()
        except ClusterError as error:
            raise SystemExit(str(error)) from None
        _show(cluster)


def _show(cluster: Cluster) -> None:
    for name, value in cluster.environment.items():
        sys.stdout.write(f"export {name}={value}\n")


if __name__ == "__main__":
    main()
