"""The module in both of its forms, loaded by a real Lmod."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hvd_nowcast
from tests.system.conftest import REPOSITORY

pytestmark = pytest.mark.system

INIT = Path(os.environ.get("LMOD_PKG", "/usr/share/lmod/lmod")) / "init/bash"
NAME = f"hvd_nowcast/{hvd_nowcast.__version__}"


@pytest.fixture(autouse=True)
def need_lmod() -> None:
    if not INIT.exists():
        pytest.skip(f"NO MODULE TEST: no {INIT}; apt-get install lmod")


def venv() -> Path:
    """The environment these tests run in."""
    return Path(sys.prefix)


def in_shell(script: str) -> subprocess.CompletedProcess[str]:
    """Run lines of bash in which ``module`` works, in a clean login."""
    clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nowhere", "PYTHONPATH": ""}
    return subprocess.run(
        ["bash", "-c", f"source {INIT}\n{script}"],
        env=clean,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=REPOSITORY,
    )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Module files of a site, with ours and an MPI that ours needs."""
    (tmp_path / "openmpi").mkdir()
    (tmp_path / "openmpi/5.0.lua").write_text('setenv("SITE_MPI", "5.0")\n')
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow/2.15.lua").write_text('setenv("SITE_TENSORFLOW", "2.15")\n')
    subprocess.run(
        ["launch/install_module.sh", str(tmp_path), "openmpi"],
        env={**os.environ, "HVD_NOWCAST_VENV": str(venv())},
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    return tmp_path


def changes(folder: Path) -> dict[str, str]:
    """Variables that loading the module sets or changes, those of Lmod's own left out."""
    show = f"module use {folder} && module load openmpi && "
    before, after = (
        in_shell(f"{show}{more}env -0").stdout.split("\0")
        for more in ("", f"module load {NAME} && ")
    )
    new = dict(entry.split("=", 1) for entry in after if entry and entry not in before)
    strange = ("LMOD", "__LMOD", "_ModuleTable", "LOADEDMODULES", "_LMFILES_", "BASH_FUNC", "_=")
    return {name: value for name, value in new.items() if not name.startswith(strange)}


def test_both_forms_set_the_same(site: Path) -> None:
    lua = changes(site)
    assert lua["HVD_NOWCAST_ROOT"] == str(REPOSITORY)
    assert lua["HVD_NOWCAST_VENV"] == str(venv())
    assert lua["PATH"].startswith(f"{venv()}/bin:")
    (site / f"{NAME}.lua").unlink()
    tcl = changes(site)
    assert tcl == lua


def test_the_checkout_itself_is_a_folder_of_modules() -> None:
    done = in_shell(
        f"module use {REPOSITORY}/modules && module load {NAME} && echo $HVD_NOWCAST_ROOT"
    )
    assert done.stdout.strip() == str(REPOSITORY), done.stderr


@pytest.mark.parametrize("form", ["lua", "tcl"])
def test_it_says_what_it_is_and_what_it_needs(site: Path, form: str) -> None:
    if form == "tcl":
        (site / f"{NAME}.lua").unlink()
    use = f"module use {site}; "
    help_text = in_shell(use + f"module load openmpi; module help {NAME}").stderr
    assert "hvd-nowcast info --check" in help_text
    assert "Horovod over MPI" in in_shell(use + f"module whatis {NAME}").stderr
    alone = in_shell(use + f"module load {NAME}")
    assert alone.returncode != 0
    assert "openmpi" in alone.stderr
    mixed = in_shell(use + f"module load openmpi tensorflow {NAME}")
    assert mixed.returncode != 0
    assert "tensorflow" in mixed.stderr


def test_a_loaded_module_runs_the_program(site: Path) -> None:
    done = in_shell(f"module use {site}; module load openmpi {NAME}; hvd-nowcast info")
    assert done.returncode == 0, done.stderr
    assert hvd_nowcast.__version__ in done.stdout
    assert f"{venv()}/bin/python" in done.stdout
