#!/usr/bin/env bash
# Train with Horovod's own launcher, for those who are used to it:
#
#   launch/horovodrun.sh RANKS CONFIG --run DIR [any option of hvd-nowcast train]
#   HOSTS=a:2,b:2 launch/horovodrun.sh 4 CONFIG --run DIR
set -euo pipefail

if [ "$#" -lt 2 ] || ! [[ "$1" =~ ^[1-9][0-9]*$ ]]; then
    sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
export HVD_NOWCAST_RANKS=$1
source "$(dirname "${BASH_SOURCE[0]}")/job.sh"

# Never Gloo, whose rendezvous runs code from anybody on the network (CVE-2024-10190). Open MPI 5
# does not know the binding that horovodrun would ask for.
exec horovodrun --mpi --binding-args="--bind-to none --map-by slot" \
    -np "$1" ${HOSTS:+-H "$HOSTS"} hvd-nowcast train "${@:2}"
