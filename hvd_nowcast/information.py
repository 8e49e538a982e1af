"""Facts about this installation and machine, without starting TensorFlow."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from hvd_nowcast import __version__
from hvd_nowcast.parallel.launcher import find_launch

PACKAGES = (
    "tensorflow", "tensorflow-cpu", "keras", "numpy", "netCDF4", "h5py", "scores", "pysteps",
    "matplotlib", "pyflwdir", "scikit-learn", "rasterio", "pyproj", "mpi4py", "horovod",
    "pyspark",
)  # fmt: skip
OPTIONAL = {
    "pysteps": "no optical flow in evaluate; install the extra 'verify'",
    "scores": "evaluate needs it; install the extra 'verify'",
    "matplotlib": "no figures; install the extra 'plot'",
    "h5py": "no HDF5 radar formats; install the extra 'convert'",
    "pyflwdir": "no watersheds; install the extra 'flood'",
    "scikit-learn": "no random forest, no clusters of regions; install the extra 'regions'",
    "rasterio": "no GeoTIFF; install the extra 'landcover'",
    "pyproj": "a nowcast on another projection than a watershed's cannot be used; install it",
    "mpi4py": "one process only; install the extra 'hpc'",
    "horovod": "one process only; install the extra 'hpc' (needs a C++ compiler and MPI)",
    "pyspark": "no Spark jobs; install the extra 'spark' (needs Java)",
}
THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
LITTLE_SPACE_GIB = 1.0
LONGEST_DIFF = 200_000

Row = list[object]


def collect_versions() -> dict[str, str]:
    """Versions of the program, Python and the libraries, for ``versions.json``."""
    found = {name: _version(name) for name in PACKAGES}
    return {
        "hvd_nowcast": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version for name, version in found.items() if version},
    }


def comparable_versions() -> dict[str, str]:
    """Versions that must be the same on all nodes, which may differ in kernel and distribution."""
    return {name: text for name, text in collect_versions().items() if name != "platform"}


def git_state(folder: Path) -> dict[str, Any]:
    """Commit and uncommitted changes of a checkout; empty outside git.

    Parameters
    ----------
    folder
        Anywhere inside the checkout.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    diff = _git(folder, "diff", "HEAD")
    return {"commit": commit.strip(), "dirty": bool(diff), "diff": diff[:LONGEST_DIFF]}


def collect(full: bool = False) -> list[Row]:
    """Rows of section, name, value and remark for ``hvd-nowcast info``.

    A remark says what is wrong and what to do.

    Parameters
    ----------
    full
        Also start Horovod and MPI in a process of their own, which takes seconds.
    """
    rows = [*_program(), *_packages(), *_netcdf(), *_machine(), *_launcher(), *_disk()]
    return rows + (_mpi() if full else [])


def _program() -> list[Row]:
    return [
        ["program", "hvd_nowcast", __version__, ""],
        ["program", "Python", f"{platform.python_version()}, {sys.executable}", ""],
        ["program", "platform", platform.platform(), ""],
    ]


def _packages() -> list[Row]:
    rows: list[Row] = []
    tensorflow = _version("tensorflow") or _version("tensorflow-cpu")
    remark = "" if tensorflow else "no training; install the extra 'cpu' or 'gpu'"
    rows.append(["library", "tensorflow", tensorflow or "absent", remark])
    for name in PACKAGES[2:]:
        version = _version(name)
        rows.append(
            ["library", name, version or "absent", "" if version else OPTIONAL.get(name, "")]
        )
    return rows


def _netcdf() -> list[Row]:
    import netCDF4

    blosc = bool(netCDF4.__has_blosc_support__)
    return [
        ["netCDF", "netcdf-c", netCDF4.__netcdf4libversion__, ""],
        ["netCDF", "HDF5", netCDF4.__hdf5libversion__, ""],
        ["netCDF", "blosc", "yes" if blosc else "no", "" if blosc else "shards use slower zlib"],
    ]


def _machine() -> list[Row]:
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    rows: list[Row] = [
        ["machine", "cores for us", cores, ""],
        ["machine", "memory", f"{memory:.1f} GiB", ""],
    ]
    for name in THREAD_VARIABLES:
        value = os.environ.get(name)
        remark = "" if value else "source launch/env.sh sets it"
        rows.append(["threads", name, value or "not set", remark])
    locking = os.environ.get("HDF5_USE_FILE_LOCKING", "not set")
    return [*rows, ["netCDF", "HDF5_USE_FILE_LOCKING", locking, _locking_remark()]]


def _launcher() -> list[Row]:
    launch = find_launch(os.environ)
    return [["launcher", launch.launcher, f"rank {launch.rank} of {launch.size}", ""]]


def _disk() -> list[Row]:
    rows: list[Row] = []
    for name, folder in (("TMPDIR", tempfile.gettempdir()), ("here", str(Path.cwd()))):
        free = shutil.disk_usage(folder).free / 2**30
        remark = "nearly full: free some space" if free < LITTLE_SPACE_GIB else ""
        rows.append(["disk", name, f"{folder}, {free:.1f} GiB free", remark])
    return rows


def _mpi() -> list[Row]:
    done = subprocess.run(
        [sys.executable, "-m", "hvd_nowcast.parallel.self_test"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return [["MPI", "mpi4py", "does not start", reason]]
    found = json.loads(lines[0])
    threads = found["threads"]
    return [
        ["MPI", "library", found["library"], ""],
        ["MPI", "Horovod", "cannot be used" if found["horovod"] else "starts", found["horovod"]],
        ["MPI", "thread multiple", "yes" if threads else "no", "" if threads else "see --check"],
    ]


def _locking_remark() -> str:
    """Whether a file in the current folder can be locked, as HDF5 does on opening."""
    import fcntl

    try:
        with tempfile.TemporaryFile(dir=".") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except PermissionError:
        return "this folder is not writable"
    except OSError:
        return "no file locking here: set HDF5_USE_FILE_LOCKING=FALSE"
    return ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return "" if done.returncode else done.stdout
