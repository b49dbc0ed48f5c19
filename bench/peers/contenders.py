# SPDX-License-Identifier: Apache-2.0
"""Who takes part: weft in its variants, the floor, the peers that this machine has, and how each is started.

A contender is a name and a function from a case (cases.py) to a command, or to None where it has no such collective
or transport. Commands print lines `bytes time_us [in_place_us]`; weft-perf's JSON is brought into that form by
measure.py.
"""
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
# Known, not in Debian: they come in through --peer, and are named as absent where they do not.
FURTHER = {
    "ucc": "no Debian package; give its perftest as --peer ucc=COMMAND",
    "impi": "no Debian package; give Intel MPI as --peer impi=COMMAND",
}
# Debian's torch belongs to Debian's python, whatever python3 is first on the path.
PYTHON = "/usr/bin/python3"


@dataclass
class Contender:
    name: str
    role: str  # "weft", "floor" or "peer"
    command: Callable[[object], Optional[list]]
    weft_json: bool = False
    version: str = ""


def cores():
    return len(os.sched_getaffinity(0))


def words(case):
    """bench/scheme.h's arguments."""
    return [str(case.bytes), str(case.bytes), "2", str(case.iterations), str(case.batch)]


def environment(case):
    """What a --peer command is told."""
    return {
        "PEER_COLLECTIVE": case.collective,
        "PEER_TRANSPORT": case.transport,
        "PEER_RANKS": str(case.ranks),
        "PEER_BYTES": str(case.bytes),
        "PEER_ITERATIONS": str(case.iterations),
        "PEER_BATCH": str(case.batch),
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }


def weft(program, name, buffers, canonical=False):
    def command(case):
        if buffers == "registered" and case.transport != "shm":
            return None
        reduces = case.collective in ("all_reduce", "reduce", "reduce_scatter")
        if canonical and not reduces:
            return None
        options = [str(program), case.collective, "--ranks", str(case.ranks), "--transport", case.transport]
        if case.collective != "barrier":
            options += ["--dtype", "float32", "-b", str(case.bytes), "-e", str(case.bytes)]
        options += ["--op", "sum"] if reduces else []
        options += ["--buffers", buffers] if buffers != "plain" else []
        options += ["--batch", str(case.batch)] if case.batch > 1 else []
        options += ["--iters", str(case.iterations)] if case.iterations else []
        return options + (["--canonical"] if canonical else [])

    return Contender(name, "weft", command, weft_json=True)


def floor(program):
    def command(case):
        fits = case.collective == "all_reduce" and case.transport == "shm" and case.ranks == 2 and cores() >= 2
        return [str(program), *words(case)] if fits else None

    return Contender("floor", "floor", command)


def openmpi(program):
    def command(case):
        options = ["--bind-to", "core"] if case.ranks <= cores() else ["--oversubscribe", "--bind-to", "none"]
        if case.transport == "tcp":
            options += "--mca pml ob1 --mca btl tcp,self --mca btl_tcp_if_include lo".split()
        return ["mpirun.openmpi", *options, "-n", str(case.ranks), str(program), case.collective, *words(case)]

    return Contender("openmpi", "peer", command)


def mpich(program):
    """Debian's MPICH stands on UCX, which also makes its shared memory."""

    def command(case):
        options = ["-bind-to", "core"] if case.ranks <= cores() else []
        if case.transport == "tcp":
            options += "-genv MPIR_CVAR_NOLOCAL 1 -genv UCX_TLS tcp,self -genv UCX_NET_DEVICES lo".split()
        return ["mpirun.mpich", *options, "-n", str(case.ranks), str(program), case.collective, *words(case)]

    return Contender("mpich", "peer", command)


def gloo():
    def command(case):
        if case.collective != "all_reduce" or case.transport != "tcp":
            return None
        return [PYTHON, str(HERE / "gloo_all_reduce.py")]

    return Contender("gloo", "peer", command)


def further(name, text):
    return Contender(name, "peer", lambda case: ["bash", "-c", text], version="as given by --peer")


def installed(package):
    done = subprocess.run(["dpkg-query", "-W", "-f=${Status} ${Version}", package], capture_output=True, text=True)
    status, _, version = done.stdout.rpartition(" ")
    return version if status == "install ok installed" else ""


PACKAGES = {
    "openmpi": ["openmpi-bin", "libopenmpi-dev"],
    "mpich": ["mpich", "libmpich-dev"],
    "gloo": ["python3-torch", "libopenblas0-pthread"],
    "plot": ["python3-matplotlib"],
}


def install(names):
    """Debian's packages of @names, as far as they are missing. Says so first; with sudo only where that is needed."""
    missing = [package for name in names for package in PACKAGES.get(name, []) if not installed(package)]
    if not missing:
        return
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    print("installing", *(["with sudo:"] if as_root else []), *missing, file=sys.stderr)
    subprocess.run([*as_root, "apt-get", "update", "-qq"], check=True)
    frontend = ["env", "DEBIAN_FRONTEND=noninteractive"]
    options = ["-y", "-qq", "--no-install-recommends"]
    subprocess.run([*as_root, *frontend, "apt-get", "install", *options, *missing], check=True, stdout=sys.stderr)


def mpi_build(name, folder):
    """The path of mpi_collective for that MPI; a RuntimeError says why there is none."""
    compiler, program = f"mpicc.{name}", Path(folder) / f"mpi_collective.{name}"
    if not shutil.which(compiler) or not shutil.which(f"mpirun.{name}"):
        raise RuntimeError(f"needs the packages {' '.join(PACKAGES[name])} (--install)")
    options = ["-std=gnu11", "-O2", f"-I{REPOSITORY}", "-o", str(program), str(HERE / "mpi_collective.c")]
    done = subprocess.run([compiler, *options], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{compiler} could not build mpi_collective.c: {done.stderr.strip()[-200:]}")
    return program


def gloo_check():
    if subprocess.run([PYTHON, "-c", "import torch.distributed"], capture_output=True).returncode:
        raise RuntimeError(f"needs the packages {' '.join(PACKAGES['gloo'])} (--install)")


def gather(build, folder, without, commands):
    """Every contender, and {name: why} of those who are absent."""
    perf = build / "tools/perf/weft-perf"
    found = [weft(perf, "weft", "plain"), weft(perf, "weft registered", "registered")]
    found += [weft(perf, "weft canonical", "plain", canonical=True)]
    absent = {}
    if (build / "bench/floor/bench_floor").exists():
        found.append(floor(build / "bench/floor/bench_floor"))
    else:
        absent["floor"] = "bench_floor is not built"
    for name, make in (("openmpi", openmpi), ("mpich", mpich)):
        try:
            found.append(make(mpi_build(name, folder)))
            found[-1].version = installed(PACKAGES[name][0])
        except RuntimeError as error:
            absent[name] = str(error)
    try:
        gloo_check()
        found.append(gloo())
        found[-1].version = "PyTorch " + installed("python3-torch")
    except RuntimeError as error:
        absent["gloo"] = str(error)
    found += [further(name, text) for name, text in commands]
    absent.update({name: why for name, why in FURTHER.items() if name not in dict(commands)})
    for name in without:
        found = [contender for contender in found if contender.name != name]
        absent.pop(name, None)
    return found, absent
