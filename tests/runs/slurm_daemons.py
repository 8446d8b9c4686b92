"""A real Slurm on this machine's loopback: one node, two GPUs that are none, no accounting."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
START_SECONDS = 60.0
CPUS = 4
"""More than the GPUs, so that these are what jobs wait for."""

SLURM_CONF = """\
ClusterName=mini
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
SlurmctldParameters=preempt_send_user_signal
SlurmdParameters=config_overrides
JobRequeue=1
GresTypes=gpu
KillWait=8
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 Gres=gpu:2 State=UNKNOWN
PartitionName=gpu Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
PartitionName=short Nodes={host} MaxTime=10 State=UP OverSubscribe=NO
"""
GRES_CONF = "NodeName={host} Name=gpu Count=2 File={folder}/dev/nvidia[0-1] Flags=nvidia_gpu_env\n"


def missing() -> str:
    """Why no Slurm can be started here; empty where one can."""
    if os.geteuid() != 0:
        return "not root"
    absent = [name for name in PROGRAMS if _program(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


@contextmanager
def slurm(folder: Path) -> Iterator[Path]:
    """Start the daemons in a folder of their own; the value is their slurm.conf."""
    host = socket.gethostname().split(".")[0]
    ports = _free_ports()
    names = {"folder": folder, "host": host, "cpus": CPUS, **ports}
    conf = folder / "slurm.conf"
    conf.write_text(SLURM_CONF.format(**names))
    (folder / "gres.conf").write_text(GRES_CONF.format(**names))
    for name in ("state", "spool", "dev"):
        (folder / name).mkdir()
    for number in range(2):  # Slurm takes nothing but devices for GPUs; these are as /dev/null
        os.mknod(folder / "dev" / f"nvidia{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    munge = [f"--{name}={folder}/munge.{name.split('-')[0]}" for name in MUNGE_FILES]
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(_start(folder, environment, "munged", "--foreground", "--force", *munge))
        _wait(lambda: (folder / "munge.socket").exists(), "munged", folder)
        started.append(_start(folder, environment, "slurmctld", "-D"))
        started.append(_start(folder, environment, "slurmd", "-D"))
        _wait(lambda: "idle" in _ask(environment, "sinfo", "-h", "-o", "%T"), "sinfo", folder)
        yield conf
    finally:
        if len(started) > 1:
            _ask(environment, "scancel", "--user=root")
            _wait(lambda: not _ask(environment, "squeue", "-h"), "squeue", folder)
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


MUNGE_FILES = ("socket", "key-file", "pid-file", "log-file", "seed-file")


def _program(name: str) -> str | None:
    """Where it is; daemons are not on everyone's PATH."""
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


def _start(
    folder: Path, environment: dict[str, str], name: str, *words: str
) -> subprocess.Popen[bytes]:
    program = _program(name)
    assert program is not None
    with (folder / f"{name}.out").open("wb") as out:
        return subprocess.Popen([program, *words], env=environment, stdout=out, stderr=out)


def _ask(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _wait(is_there: Callable[[], bool], name: str, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_there():
        if time.monotonic() > deadline:
            said = "\n".join(file.read_text(errors="replace") for file in folder.glob("*.out"))
            raise TimeoutError(f"{name}: not as expected after {START_SECONDS:.0f} s:\n{said}")
        time.sleep(0.2)


def _free_ports() -> dict[str, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return {"controller_port": one.getsockname()[1], "node_port": other.getsockname()[1]}
