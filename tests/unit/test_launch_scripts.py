"""The launch scripts beside stand-ins for the commands of a cluster."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TRAIN = 'while [ "$1" != hvd-nowcast ]; do shift; done; mkdir -p run/checkpoints; '
# Saves and leaves at a signal, as the ranks do.
TRAIN_TO_SIGNAL = TRAIN + (
    "trap 'touch run/checkpoints/step-00000020.npz; exit 85' USR1; "
    "for i in $(seq 100); do sleep 0.05; done; exit 99"
)


class Cluster:
    """A folder with commands that write down how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()

    def command(self, name: str, script: str = "") -> None:
        path = self.folder / "bin" / name
        path.write_text(f'#!/usr/bin/env bash\necho {name} "$@" >>{self.folder}/calls\n{script}\n')
        path.chmod(0o755)

    def run(self, script: str, *arguments: str, **variables: str) -> tuple[int, str]:
        # launch/env.sh puts the environment's commands first.
        clean = {
            "PATH": os.environ["PATH"],
            "HVD_NOWCAST_VENV": str(self.folder),
            "HVD_NOWCAST_ROOT": str(REPOSITORY),
            **variables,
        }
        done = subprocess.run(
            [str(REPOSITORY / "launch" / script), *arguments],
            cwd=self.folder,
            env=clean,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        return done.returncode, done.stdout + done.stderr

    def calls(self, name: str) -> list[str]:
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(name + " ")]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_a_pbs_job_saves_before_its_limit_and_is_submitted_again(cluster: Cluster) -> None:
    cluster.command("mpirun", TRAIN_TO_SIGNAL)
    cluster.command("qstat", "echo '    Resource_List.walltime = 00:05:01'")
    cluster.command("qsub")
    nodes = cluster.folder / "nodes"
    nodes.write_text("node1\nnode1\nnode2\nnode2\n")
    job = {"PBS_JOBID": "7", "PBS_O_WORKDIR": str(cluster.folder), "PBS_NODEFILE": str(nodes)}
    status, printed = cluster.run("train.pbs", CONFIG="a.yaml", RUN="run", **job)
    assert status == 85, printed
    assert cluster.calls("qsub") == ["qsub -v CONFIG,RUN launch/train.pbs"]
    (started,) = cluster.calls("mpirun")
    assert f"--hostfile {nodes}" in started
    assert started.endswith("hvd-nowcast train a.yaml --run run --resume")


def test_an_lsf_job_ends_with_the_status_on_which_lsf_runs_it_again(cluster: Cluster) -> None:
    cluster.command("mpirun", TRAIN + "touch run/checkpoints/step-00000020.npz; exit 85")
    job = {"LSB_JOBID": "7", "LSB_MCPU_HOSTS": "node1 4 node2 4", "CONFIG": "a", "RUN": "run"}
    status, printed = cluster.run("train.lsf", **job)
    assert status == 85, printed
    assert '-Q "85 138"' in (REPOSITORY / "launch/train.lsf").read_text()
    # No further checkpoint: another job would do no better.
    status, printed = cluster.run("train.lsf", **job)
    assert status == 1
    assert "before the first new checkpoint: raise it" in printed
    assert "running this job again" not in printed


def test_a_cancelled_job_saves_and_is_not_run_again(cluster: Cluster) -> None:
    cluster.command("mpirun", f"(sleep 0.3; kill -TERM $PPID) & {TRAIN_TO_SIGNAL}")
    cluster.command("scontrol")
    job = {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(cluster.folder)}
    status, printed = cluster.run("train.sbatch", "a.yaml", "--run", "run", **job)
    assert status == 85, printed
    assert cluster.calls("scontrol") == []


def test_srun_starts_the_ranks_where_a_type_of_mpi_is_given(cluster: Cluster) -> None:
    cluster.command("srun", TRAIN + "touch run/final.json")
    job = {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(cluster.folder), "MPI_TYPE": "pmix"}
    job["SLURM_CPUS_PER_TASK"] = "4"
    status, printed = cluster.run("train.sbatch", "a.yaml", "--run", "run", **job)
    assert status == 0, printed
    (started,) = cluster.calls("srun")
    assert started.startswith("srun --mpi=pmix --kill-on-bad-exit=1 --cpus-per-task=4 hvd-")


def test_a_rolling_nowcast_is_run_again_at_its_limit(cluster: Cluster) -> None:
    cluster.command("hvd-nowcast", "exit 85")
    cluster.command("scontrol")
    job = {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(cluster.folder)}
    status, printed = cluster.run("forecast.sbatch", "runs/radar", "--input", "in", **job)
    assert status == 85, printed
    assert cluster.calls("hvd-nowcast") == ["hvd-nowcast watch runs/radar --input in"]
    assert cluster.calls("scontrol") == ["scontrol requeue 7"]


def test_each_task_of_an_array_takes_its_own_regions(cluster: Cluster) -> None:
    cluster.command("mpirun")
    job = {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(cluster.folder)}
    configs = ["configs/north.yaml", "configs/south.yaml"]
    status, printed = cluster.run("regions.sbatch", *configs, SLURM_ARRAY_TASK_ID="1", **job)
    assert status == 0, printed
    (started,) = cluster.calls("mpirun")
    assert "regions fit configs/south.yaml --run runs/south" in started


@pytest.mark.parametrize(
    ("ending", "status", "words"),
    [
        ("exit 0", 8, "as happens when a host is lost"),
        ("exit 137", 137, "ended by signal 9"),
        ("exit 213", 213, ""),
        ("mkdir -p run; touch run/final.json", 0, ""),
    ],
)
def test_a_bad_end_is_explained(cluster: Cluster, ending: str, status: int, words: str) -> None:
    cluster.command("mpirun", ending)
    returned, printed = cluster.run("local.sh", "2", "a.yaml", "--run=run")
    assert returned == status, printed
    assert words in printed
    assert printed.count("error:") == bool(words)


def test_horovodrun_never_uses_gloo(cluster: Cluster) -> None:
    cluster.command("horovodrun")
    status, printed = cluster.run("horovodrun.sh", "4", "a.yaml", "--run", "run", HOSTS="a:2,b:2")
    assert status == 0, printed
    (started,) = cluster.calls("horovodrun")
    assert started.startswith("horovodrun --mpi --binding-args=")
    assert started.endswith("-np 4 -H a:2,b:2 hvd-nowcast train a.yaml --run run")


@pytest.mark.parametrize("script", ["local.sh", "horovodrun.sh", "install_module.sh"])
def test_a_script_without_arguments_says_how_to_call_it(cluster: Cluster, script: str) -> None:
    status, printed = cluster.run(script)
    assert status == 2
    assert f"launch/{script} " in printed
