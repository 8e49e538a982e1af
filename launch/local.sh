#!/usr/bin/env bash
# Train on several ranks of this machine, or of several hosts that ssh reaches:
#
#   launch/local.sh RANKS CONFIG --run DIR [any option of hvd-nowcast train]
#   MPIRUN_OPTIONS='--host a:2,b:2' launch/local.sh 4 CONFIG --run DIR
#
# See launch/job.sh for MPIRUN, MPIRUN_OPTIONS and MPI_TYPE.
set -euo pipefail

if [ "$#" -lt 2 ] || ! [[ "$1" =~ ^[1-9][0-9]*$ ]]; then
    sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
export HVD_NOWCAST_RANKS=$1
source "$(dirname "${BASH_SOURCE[0]}")/job.sh"
train "$@"
