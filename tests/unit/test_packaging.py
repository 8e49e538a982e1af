"""What is said in several files is said alike: requirements, pins, versions, scripts, options."""

from __future__ import annotations

import ast
import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hvd_nowcast
from hvd_nowcast.cli import program

REPOSITORY = Path(__file__).parents[2]
LAUNCH = REPOSITORY / "launch"
SOURCED = ("env.sh", "job.sh")
BATCH = sorted([*LAUNCH.glob("*.sbatch"), *LAUNCH.glob("*.pbs"), *LAUNCH.glob("*.lsf")])
SCRIPTS = [*sorted(LAUNCH.glob("*.sh")), *BATCH, REPOSITORY / ".ci/run"]
INSTALLED_EXTRAS = (
    "cpu",
    "hpc",
    "verify",
    "plot",
    "convert",
    "flood",
    "landcover",
    "regions",
    "tensorboard",
    "spark",
    "dev",
)


def from_setup(name: str) -> Any:
    """A literal of setup.py, without running it."""
    tree = ast.parse((REPOSITORY / "setup.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"setup.py has no {name}")


def requirements(*extras: str) -> list[Requirement]:
    lines = [*from_setup("BASE"), *(line for name in extras for line in from_setup("EXTRAS")[name])]
    return [Requirement(line) for line in lines]


def pins(python: str) -> dict[str, str]:
    found = {}
    for line in (REPOSITORY / "launch/constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate({"python_version": python}):
                (version,) = (specifier.version for specifier in pin.specifier)
                found[canonicalize_name(pin.name)] = version
    return found


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12"])
def test_every_requirement_is_pinned_within_its_limits(python: str) -> None:
    pinned = pins(python)
    for requirement in requirements(*INSTALLED_EXTRAS):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} has no pin"
        assert version in requirement.specifier, f"{requirement} is pinned at {version}"


def test_the_conda_environment_asks_for_the_same() -> None:
    content = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    conda = {}
    # A line of a requirements file for pip, which knows fewer options than its command line.
    assert content["dependencies"][-1] == {"pip": ["-e ."]}
    for line in content["dependencies"]:
        if isinstance(line, str):
            name, limits = re.match(r"([A-Za-z0-9_-]+)(.*)", line).groups()  # type: ignore[union-attr]
            conda[canonicalize_name(name)] = limits
    renamed = {"tensorflow-cpu": "tensorflow", "opencv-python-headless": "opencv"}
    for requirement in requirements(*(name for name in INSTALLED_EXTRAS if name != "dev")):
        name = canonicalize_name(renamed.get(requirement.name, requirement.name))
        assert name in conda, f"environment.yml lacks {name}"
        ours = {str(part) for part in requirement.specifier}
        if any(part.startswith("==") for part in ours):
            (version,) = (part.version for part in requirement.specifier)
            assert conda[name].strip("=").rstrip("*").rstrip(".") in version
        else:
            assert {part for part in conda[name].split(",") if part} == ours


def test_one_version() -> None:
    text = (REPOSITORY / "setup.py").read_text()
    assert f'version="{hvd_nowcast.__version__}"' in text
    assert f"### {hvd_nowcast.__version__}" in (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)
    if path.name not in SOURCED:
        assert os.access(path, os.X_OK)
        assert "set -euo pipefail" in path.read_text()


@pytest.mark.parametrize("path", BATCH, ids=lambda path: path.name)
def test_batch_scripts_share_their_shell(path: Path) -> None:
    text = path.read_text()
    assert re.search(r'^source "\$\{HVD_NOWCAST_ROOT:-\$\w+\}/launch/job.sh"$', text, re.MULTILINE)
    code = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(code) <= 10, "what two scripts need belongs into launch/job.sh"


def test_the_container_is_made_by_the_set_up_of_this_checkout() -> None:
    text = (LAUNCH / "apptainer.def").read_text()
    sections = re.findall(r"^%(\w+)$", text, re.MULTILINE)
    assert sections == ["files", "post", "environment", "runscript", "test"]
    assert "/opt/hvd_nowcast/launch/setup.sh" in text


def module_lines(text: str) -> list[tuple[str, ...]]:
    """What a module file does, its Lua and its Tcl form alike."""
    words = r"whatis|conflict|setenv|prepend[-_]path|prereq"
    found = []
    for line in re.findall(rf"^ *(?:module-)?({words})\b(.*)$", text, re.MULTILINE):
        plain = re.sub(r"pathJoin|file join|[][()$\",]|\.\.", " ", " ".join(line))
        found.append(tuple(plain.replace("-", "_").split()))
    return found


def test_both_forms_of_the_module_say_the_same() -> None:
    folder = REPOSITORY / "modules/hvd_nowcast"
    version = hvd_nowcast.__version__
    assert {file.name for file in folder.iterdir()} == {version, f"{version}.lua"}
    tcl, lua = ((folder / name).read_text() for name in (version, f"{version}.lua"))
    assert module_lines(tcl) == module_lines(lua)
    assert {line[0] for line in module_lines(lua)} == {
        "whatis", "conflict", "setenv", "prepend_path", "prereq",
    }  # fmt: skip
    helps = [
        re.search(r"\nTrain, verify.*?after this one\.\n", text, re.DOTALL) for text in (tcl, lua)
    ]
    assert helps[0] and helps[1] and helps[0].group() == helps[1].group()
    for text in (tcl, lua):
        assert set(re.findall(r"\b\d+\.\d+\.\d+\b", text)) == {version}


def sourced(**variables: str) -> dict[str, str]:
    """Environment after launch/env.sh."""
    command = ["bash", "-euc", f"source '{REPOSITORY}/launch/env.sh'; env -0"]
    clean = {"PATH": os.environ["PATH"], "HOME": "/nowhere", **variables}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=clean)
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)


def test_env_sets_what_is_unset_and_keeps_what_is_set() -> None:
    assert sourced(OMP_NUM_THREADS="7")["OMP_NUM_THREADS"] == "7"
    found = sourced()
    assert int(found["TF_NUM_INTRAOP_THREADS"]) >= 1
    assert found["HDF5_USE_FILE_LOCKING"] == "BEST_EFFORT"
    assert str(REPOSITORY / ".venv/bin") in found["PATH"]


def test_env_follows_the_slurm_allocation() -> None:
    slurm = {"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "4"}
    found = sourced(**slurm, SLURM_NTASKS_PER_NODE="4", SLURM_CPUS_PER_TASK="1")
    assert found["OMP_NUM_THREADS"] == "1"
    assert found["OMPI_MCA_mpi_yield_when_idle"] == "1"
    roomy = sourced(SLURM_JOB_ID="7", SLURM_TASKS_PER_NODE="4(x2),1", SLURM_CPUS_ON_NODE="64")
    assert roomy["OMP_NUM_THREADS"] == roomy["TF_NUM_INTRAOP_THREADS"] == "16"
    assert "OMPI_MCA_mpi_yield_when_idle" not in roomy


def test_env_follows_the_pbs_allocation(tmp_path: Path) -> None:
    host = socket.gethostname().split(".")[0]
    nodes = tmp_path / "nodes"
    nodes.write_text(f"{host}.site.org\n" * 4 + "other\n" * 2)
    assert sourced(PBS_NODEFILE=str(nodes), NCPUS="32")["OMP_NUM_THREADS"] == "8"
    # PBS sets it itself where the job asked for ompthreads.
    found = sourced(PBS_NODEFILE=str(nodes), NCPUS="32", OMP_NUM_THREADS="2")
    assert found["TF_NUM_INTRAOP_THREADS"] == "2"


def test_env_follows_the_lsf_allocation() -> None:
    found = sourced(LSB_MCPU_HOSTS="node1 4 node2 4")
    assert found["OMP_NUM_THREADS"] == "1"
    assert found["OMPI_MCA_mpi_yield_when_idle"] == "1"


def test_env_gives_up_a_lost_host_before_the_watchdog() -> None:
    found = sourced()
    seconds, between, times = (
        int(found[f"PRTE_MCA_oob_tcp_keepalive_{name}"]) for name in ("time", "intvl", "probes")
    )
    assert seconds + between * times <= 120


def options_of(command: click.Command, name: str = "") -> dict[str, set[str]]:
    if isinstance(command, click.Group):
        parts = [options_of(sub, f"{name} {key}".strip()) for key, sub in command.commands.items()]
        return {key: value for part in parts for key, value in part.items()}
    flags = (parameter.opts[-1] for parameter in command.params if parameter.opts[0][0] == "-")
    return {name: set(flags)}


def test_a_new_option_is_a_decision() -> None:
    inputs = {"--format", "--variable", "--relation"}
    assert options_of(program) == {
        "shards build": inputs | {"--out", "--split", "--frames", "--size", "--seed"},
        "shards check": {"--quarantine"},
        "shards stage": {"--to", "--config", "--set"},
        "train": {
            "--run",
            "--set",
            "--resume",
            "--start-from",
            "--locality",
            "--horovod-timeline",
            "--shards",
        },
        "regions fit": {"--run", "--set", "--resume"},
        "regions evaluate": {"--run", "--set", "--resume"},
        "regions report": {"--run"},
        "probe": {"--set"},
        "plan": {"--speeds", "--batch", "--fixed", "--parameters", "--latency", "--bandwidth"},
        "evaluate": {
            *("--shards", "--split", "--json", "--every", "--members", "--minutes", "--ablation"),
            "--plot",
        },
        "forecast": inputs
        | {"--input", "--out", "--plot", "--time", "--rain", "--members", "--minutes"},
        "watch": inputs | {"--input", "--out", "--keep"},
        "compare-parallel": {"--run", "--set", "--steps"},
        "spark predict": {"--out", "--master", "--every", "--geotiff", "--conf"},
        "spark train": {
            *("--run", "--num-proc", "--master", "--set", "--resume", "--trust-network", "--conf"),
        },
        "report": set(),
        "info": {"--full", "--check"},
    }


def test_readme_names_every_format() -> None:
    from hvd_nowcast.shards.convert import FORMATS

    readme = (REPOSITORY / "README.md").read_text()
    assert all(f"| `{name}` |" in readme for name in (*FORMATS, "synthetic"))
